-- Whether a session holds the lock of `db upgrade`, without taking it: a reader must not.
-- Parameters: lock text. Columns: runs bool. Expect: one row.
select
    exists (
        select
        from pg_locks as held
        where
            held.locktype = 'advisory'
            and held.granted
            and held.database = (select oid from pg_database where datname = current_database())
            and held.objsubid = 1
            and (held.classid::bigint << 32 | held.objid::bigint) = hashtextextended(%(lock)s, 0)
    ) as runs
