-- End the server process of our own broken connection, should the server not have noticed yet, and wait for its end: its
-- locks go with it.
-- A pooler may have given it to the new connection, which lives.
-- Parameters: pid int4, application_name text. Columns: ended bool. Expect: no row, or one.
select pg_terminate_backend(activity.pid, 5000) as ended
from pg_stat_activity as activity
where
    activity.pid = %(pid)s
    and activity.pid <> pg_backend_pid()
    and activity.application_name = %(application_name)s
