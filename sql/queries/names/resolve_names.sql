-- Instruments that names mean on a day: the rules are those of `tickline.resolve_names`. A spelling is a name in upper
-- case without spaces.
-- Parameters: spellings text[], on date (market-local).
-- Columns: spelling text, then those of an instrument. Expect: one row per spelling; several if nothing distinguishes
-- them.
-- Example: spellings => '{INFY,NIFTYFUT,BANKNIFTY59400CE30DEC25}', on => '2025-12-15'
select
    named.spelling,
    instrument.instrument_id,
    instrument.instrument_key,
    instrument.trading_symbol,
    instrument.instrument_type,
    instrument.segment,
    instrument.expiry,
    instrument.strike,
    instrument.lot_size
from tickline.resolve_names(%(spellings)s, %(on)s) as named
inner join instruments as instrument using (instrument_id)
order by
    named.spelling,
    instrument.instrument_key,
    instrument.instrument_id
