-- Take the lock of work that is done once per database, for the life of this connection. 7471 is its class: not that of
-- collectors (7469), because bars form while one of those writes.
-- Parameters: name text. Columns: locked bool. Example: name = 'once per database'
select pg_try_advisory_lock(7471, hashtext(%(name)s)) as locked
