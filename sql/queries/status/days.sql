-- Days of ticks, and what was done with them. Days are UTC and hold one session.
-- Columns: oldest, newest date: of the days that have ticks, null: none; with_ticks int8: days that have ticks;
-- unsettled int8: of those, days before today that were neither exported nor reconciled; exported, reconciled, dropped
-- int8: days ever. Expect: one row.
with tick_days as (
    select day
    from tickline.tick_days() as found (day)
)

select
    min(tick_days.day) as oldest,
    max(tick_days.day) as newest,
    count(tick_days.day) as with_ticks,
    count(*) filter (
        where tick_days.day < (now() at time zone 'UTC')::date
            and days.exported_at is null
            and days.reconciled_at is null
    ) as unsettled,
    count(days.exported_at) as exported,
    count(days.reconciled_at) as reconciled,
    count(days.dropped_at) as dropped
from tick_days
full join days on days.day = tick_days.day
