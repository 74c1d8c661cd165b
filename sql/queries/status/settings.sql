-- Settings of this server, as in force in this session.
-- Parameters: names text[]. Columns: name, value text, as the server shows it; amount float8: a size in bytes, another
-- number in the setting's own unit, null: not a number; restart_is_pending bool: the configuration has another value.
-- Expect: at most one row per name; a setting that the server does not know has none.
select
    name,
    current_setting(name) as value,
    case
        when vartype not in ('integer', 'real') then null
        else setting::float8 * case unit
            when 'B' then 1
            when 'kB' then 1024
            when '8kB' then 8192
            when '16kB' then 16384
            when '32kB' then 32768
            when 'MB' then 1048576
            else 1
        end
    end as amount,
    pending_restart as restart_is_pending
from pg_settings
where name = any(%(names)s)
order by name
