-- Instrument keys that are not in the vendor's list on a day. By the index of (instrument_key, expiry).
-- Parameters: instrument_keys text[], on date (market-local).
-- Columns: instrument_key text. Expect: at most one row per key.
-- Example: instrument_keys => '{NSE_FO|53001}', on => '2025-12-15'
select asked.instrument_key
from unnest(%(instrument_keys)s::text[]) as asked (instrument_key)
where not exists (
    select from instruments as instrument
    where
        instrument.instrument_key = asked.instrument_key
        and instrument.instrument_type is not null
        and instrument.valid_to is null
        and coalesce(instrument.expiry >= %(on)s, true)
)
