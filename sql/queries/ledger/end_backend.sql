-- End the server process of our own broken connection, which the server may not have noticed, and wait until it has
-- ended, since that releases its locks. A pooler may have given the process to our new connection; that one is spared.
-- Parameters: pid int4, application_name text. Columns: ended bool. Expect: one row or none.
select pg_terminate_backend(activity.pid, 5000) as ended
from pg_stat_activity as activity
where
    activity.pid = %(pid)s
    and activity.pid <> pg_backend_pid()
    and activity.application_name = %(application_name)s
