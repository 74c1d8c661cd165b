-- Number of the given instruments that are in no list. Parameters: instrument_ids int4[].
-- Columns: instruments int8, instrument_key text, the first of them. Expect: one row.
select
    count(*) as instruments,
    min(instrument_key) as instrument_key
from instruments
where instrument_id = any(%(instrument_ids)s::int4[]) and instrument_type is null
