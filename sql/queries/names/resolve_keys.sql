-- Instruments of keys on a day: the rules are those of `tickline.resolve_keys`.
-- Parameters: instrument_keys text[], on date (market-local).
-- Columns: spelling text (the key), then those of an instrument. Expect: at most one row per key.
-- Example: instrument_keys => '{NSE_FO|53001}', on => '2025-12-15'
select
    key.spelling,
    instrument.instrument_id,
    instrument.instrument_key,
    instrument.trading_symbol,
    instrument.instrument_type,
    instrument.segment,
    instrument.expiry,
    instrument.strike,
    instrument.lot_size
from tickline.resolve_keys(%(instrument_keys)s, %(on)s) as key
inner join instruments as instrument using (instrument_id)
