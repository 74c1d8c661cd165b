-- The session that holds a collector's write lock, found by the name of its connection.
-- Parameters: application_name text. Columns: pid int4, backend_start timestamptz (UTC).
select
    activity.pid,
    activity.backend_start at time zone 'UTC' as backend_start
from pg_locks as held
inner join pg_stat_activity as activity using (pid)
where
    held.locktype = 'advisory'
    and held.classid = 7469
    and held.granted
    and activity.application_name = %(application_name)s
limit 1
