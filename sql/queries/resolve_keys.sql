-- The instruments that instrument keys mean on a day: the one that has not expired, the nearest expiry
-- first; where all have expired, the last that did. By the index of (instrument_key, expiry).
-- Parameters: instrument_keys text[], on date (market-local).
-- Columns: spelling text (the key), then those of an instrument. Expect: at most one row per key.
-- Example: instrument_keys => '{NSE_FO|53001}', on => '2025-12-15'
select distinct on (instrument.instrument_key)
    instrument.instrument_key as spelling,
    instrument.instrument_id,
    instrument.instrument_key,
    instrument.trading_symbol,
    instrument.instrument_type,
    instrument.segment,
    instrument.expiry,
    instrument.strike,
    instrument.lot_size
from instruments as instrument
where instrument.instrument_key = any(%(instrument_keys)s)
order by
    instrument.instrument_key,
    (instrument.expiry is not null and instrument.expiry < %(on)s),
    abs(instrument.expiry - %(on)s) nulls last,
    instrument.instrument_id
