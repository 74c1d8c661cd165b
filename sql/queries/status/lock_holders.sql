-- Sessions that a waiting session waits for, the longest transaction first. Without pg_monitor, the query and its age
-- are visible only for sessions of the same user.
-- Parameters: pid int4, of the waiting session. Columns: pid int4; application text: its name, otherwise its kind;
-- user_name text; transaction_s float8: age of its transaction, seconds, null: not visible; query text: its last
-- statement, begin. Rows: one per session; none if nobody waits.
select
    holder.pid,
    coalesce(nullif(holder.application_name, ''), holder.backend_type, 'unknown') as application,
    coalesce(holder.usename::text, 'unknown') as user_name,
    extract(epoch from clock_timestamp() - holder.xact_start)::float8 as transaction_s,
    left(regexp_replace(holder.query, '\s+', ' ', 'g'), 60) as query
from unnest(pg_blocking_pids(%(pid)s)) as blocking (pid)
inner join pg_stat_activity as holder on holder.pid = blocking.pid
order by holder.xact_start nulls last, holder.pid
