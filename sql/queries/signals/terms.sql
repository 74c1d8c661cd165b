-- What instruments are, and on what: for their class, and for what is one event. Expect: one row for each, a key
-- that was used again in the order of its instruments.
-- Parameters: instrument_ids int4[].
-- Columns: instrument_key, instrument_type, underlying_key, strike (rupees), expiry.
select
    instrument_key,
    instrument_type,
    underlying_key,
    strike,
    expiry
from instruments
where instrument_id = any(%(instrument_ids)s::int4[])
order by instrument_id
