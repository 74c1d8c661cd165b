-- Days with ticks that are old enough to be dropped, oldest first, and what was done with them.
-- Parameters: before date, UTC; the first day that stays.
-- Columns: day date; reconciled_at, exported_at, dropped_at timestamptz; exported_to text; exported_ticks int8.
select
    tick_days.day,
    days.reconciled_at,
    days.exported_at,
    days.dropped_at,
    days.exported_to,
    days.exported_ticks
from tickline.tick_days() as tick_days (day)
left join days on days.day = tick_days.day
where tick_days.day < %(before)s
order by tick_days.day
