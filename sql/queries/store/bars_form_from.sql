-- Time from which bars still form while a collector writes: after the newest tick of the newest touched minute.
-- Parameters: ended text, a collector that writes nothing more, or null. Columns: form_from timestamptz, null: none forms.
select max(last_ts) + interval '1 microsecond' as form_from
from tickline.touched_minutes
where
    exists (
        select
        from pg_locks
        inner join pg_database on pg_database.oid = pg_locks.database
        where
            pg_database.datname = current_database()
            and pg_locks.locktype = 'advisory'
            and pg_locks.classid = 7469  -- as in `lock_collector`
            and pg_locks.granted
            and pg_locks.objid is distinct from hashtext(%(ended)s)::oid
    )
