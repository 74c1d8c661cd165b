-- Take a collector's write lock for the life of this connection. 7469 is "ti" in ASCII: the class of our locks.
-- Parameters: collector text. Columns: locked bool. Example: collector = 'default'
select pg_try_advisory_lock(7469, hashtext(%(collector)s)) as locked
