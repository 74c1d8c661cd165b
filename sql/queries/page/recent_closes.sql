-- Closes of the last minutes of instruments, for small line charts.
-- Expect: a row per instrument, an index look-up each.
-- Parameters: instrument_ids int4[]; since timestamptz.
-- Columns: instrument_id, closes float8[] (rupees, oldest first).
select
    instrument_id,
    array_agg(close order by bucket) as closes
from bars_1m
where instrument_id = any(%(instrument_ids)s) and bucket >= %(since)s
group by instrument_id
