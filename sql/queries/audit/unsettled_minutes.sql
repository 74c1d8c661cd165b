-- Number of minutes in a range that still form, or wait for their bars. Expect: one row.
-- Parameters: start, end timestamptz, half-open. Columns: minutes int8.
select count(*) as minutes
from tickline.touched_minutes
where minute >= %(start)s and minute < %(end)s
