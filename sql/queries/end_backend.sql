-- End the server process of our own broken connection, should the server not have noticed yet.
-- Parameters: pid int4, application_name text. Columns: ended bool. Expect: no row, or one.
select pg_terminate_backend(activity.pid) as ended
from pg_stat_activity as activity
where
    activity.pid = %(pid)s
    and activity.application_name = %(application_name)s
