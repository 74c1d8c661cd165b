-- Record what was done with the ticks of days; a null value leaves its column unchanged.
-- Parameters: days date[]; reconciled_at, exported_at, dropped_at timestamptz; exported_to text; exported_ticks int8.
insert into days (day, reconciled_at, exported_at, exported_to, exported_ticks, dropped_at)
select
    day,
    %(reconciled_at)s,
    %(exported_at)s,
    %(exported_to)s,
    %(exported_ticks)s,
    %(dropped_at)s
from unnest(%(days)s::date[]) as day
on conflict (day) do update
set reconciled_at = coalesce(excluded.reconciled_at, days.reconciled_at),
    exported_at = coalesce(excluded.exported_at, days.exported_at),
    exported_to = coalesce(excluded.exported_to, days.exported_to),
    exported_ticks = coalesce(excluded.exported_ticks, days.exported_ticks),
    dropped_at = coalesce(excluded.dropped_at, days.dropped_at)
