-- How many minutes of a range still form, or wait for their bars to be made. Expect: one row.
-- Parameters: start, end timestamptz, half-open. Columns: minutes int8.
select count(*) as minutes
from tickline.touched_minutes
where minute >= %(start)s and minute < %(end)s
