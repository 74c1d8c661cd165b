-- Instruments that instrument keys mean on a day. By the index of (instrument_key, expiry).
-- In order of preference: not expired; still in the vendor's list on that day; known on that day, otherwise known
-- soonest after; in the list now; nearest expiry.
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
    coalesce((instrument.valid_to at time zone 'Asia/Kolkata')::date <= %(on)s, false),
    greatest((instrument.valid_from at time zone 'Asia/Kolkata')::date, %(on)s),
    (instrument.valid_to is not null),
    abs(instrument.expiry - %(on)s) nulls last,
    instrument.instrument_id
