-- The exchange's own figures of days, unordered. Expect: a row per instrument and day; none where the feed said nothing.
-- Parameters: instrument_ids int4[]; start, end timestamptz, half-open, of the days ('-infinity', 'infinity').
-- Columns: instrument_id, begins (local midnight), open, high, low (rupees), volume (units).
-- Example: instrument_ids => '{1,2}', start => '2025-12-14 18:30+00', end => '2025-12-15 18:30+00'
select
    official.instrument_id,
    tickline.day_begin(official.day) as begins,
    official.open,
    official.high,
    official.low,
    official.volume
from (
    select day from tickline.tick_days() as day
    union
    select day from official_days where instrument_id = any(%(instrument_ids)s::int4[])
) as days
cross join unnest(%(instrument_ids)s::int4[]) as id
cross join lateral tickline.official_day(id, days.day) as official
where
    tickline.day_begin(days.day) >= %(start)s
    and tickline.day_begin(days.day) < %(end)s
