-- Mark that this session says at least once a second that it lives, so that it may be ended when it no longer does.
-- 7470 is the class of these marks, beside 7469 of the locks. Parameters: name text. Columns: marked bool.
-- Expect: one row. Example: name = 'default'
select pg_try_advisory_lock_shared(7470, hashtext(%(name)s)) as marked
