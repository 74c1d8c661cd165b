-- Number of ticks of a time range, for the progress of an export. Reads the range.
-- Parameters: start, end timestamptz. Columns: ticks int8. Expect: one row.
-- Example: start => '2025-12-15 00:00+00', end => '2025-12-16 00:00+00'
select count(*) as ticks
from ticks
where ts >= %(start)s and ts < %(end)s
