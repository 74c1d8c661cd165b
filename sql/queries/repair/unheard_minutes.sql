-- Remaining unheard minutes of an instrument. Parameters: instrument_id int4; start, end timestamptz, half-open.
-- Columns: bucket timestamptz.
select bucket
from unheard_minutes
where instrument_id = %(instrument_id)s and bucket >= %(start)s and bucket < %(end)s
order by bucket
