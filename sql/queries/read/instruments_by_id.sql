-- Keys of instruments. Expect: one row for each. Parameters: instrument_ids int4[].
-- Columns: instrument_id, instrument_key.
select
    instrument_id,
    instrument_key
from instruments
where instrument_id = any(%(instrument_ids)s::int4[])
