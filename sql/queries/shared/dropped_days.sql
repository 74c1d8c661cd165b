-- Days of a range whose ticks were dropped, and the file that has them.
-- Parameters: start, end timestamptz, half-open ('-infinity', 'infinity'). Columns: day date, UTC; exported_to text, null: none.
select
    day,
    exported_to
from days
where dropped_at is not null
    and (day + 1)::timestamp at time zone 'UTC' > %(start)s
    and day::timestamp at time zone 'UTC' < %(end)s
order by day
