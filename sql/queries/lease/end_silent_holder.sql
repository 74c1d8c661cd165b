-- End the session that holds a lock and has promised to speak, if it has not: its process is frozen, or its machine or
-- network is gone. Its locks are then free, and what it had not committed is rolled back; a process that wakes up finds
-- its connection broken, so it cannot commit.
-- Parameters: lock_class int4 (7469: a collector's, 7471: that of work done once); name text; silent_s, copying_s float8 (seconds): the longest silence between two statements, and that
-- within one for which the server waits, as during a COPY.
-- Columns: pid int4, silent_s float8, ended bool. Expect: one row, or none if nobody is silent.
select
    activity.pid,
    extract(epoch from clock_timestamp() - activity.state_change)::float8 as silent_s,
    pg_terminate_backend(activity.pid, 2000) as ended
from pg_locks as held
inner join pg_stat_activity as activity using (pid)
where
    held.locktype = 'advisory'
    and held.classid = %(lock_class)s
    and held.objid = (hashtext(%(name)s)::int8 & 4294967295)::oid
    and held.objsubid = 2
    and held.granted
    and held.database = (select oid from pg_database where datname = current_database())
    and exists (
        select
        from pg_locks as marked
        where
            marked.pid = held.pid
            and marked.locktype = 'advisory'
            and marked.classid = 7470
            and marked.objid = held.objid
            and marked.granted
    )
    and activity.pid <> pg_backend_pid()
    and activity.wait_event_type = 'Client'
    and clock_timestamp() - greatest(activity.state_change, activity.query_start) > make_interval(
        secs => case when activity.state = 'active' then %(copying_s)s else %(silent_s)s end
    )
