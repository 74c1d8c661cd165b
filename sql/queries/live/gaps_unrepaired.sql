-- Breaks of whole connections of a collector that ended in a range and are not repaired, and when the first of them
-- ended. By the index on started_at; a break that began earlier than the range is not of its day.
-- Parameters: collector text; start, end timestamptz, half-open.
-- Columns: gaps int8, first_ended_at timestamptz. Expect: one row.
-- Example: collector => 'default', start => '2026-11-27 00:00+05:30', end => '2026-11-27 11:00+05:30'
select
    count(*) as gaps,
    min(ended_at) as first_ended_at
from feed_gaps
where
    collector = %(collector)s
    and instrument_id is null
    and repaired_at is null
    and started_at >= %(start)s
    and started_at < %(end)s
    and ended_at < %(end)s
