-- The instruments that names mean on a day. A spelling is a name in upper case without spaces. In order of
-- preference it is that of an instrument key, a trading symbol, an underlying with FUT (the living future
-- nearest to expiry), or the full name of what does not expire, as 'Nifty Bank'. Among several the living
-- one is meant; then NSE before BSE before others; then an index, an equity, others; then as for keys.
-- Parameters: spellings text[], on date (market-local).
-- Columns: spelling text, then those of an instrument. Expect: at most one row per spelling.
-- Example: spellings => '{INFY,NIFTYFUT,BANKNIFTY59400CE30DEC25}', on => '2025-12-15'
with spelled_instruments as (
    select
        instrument_id,
        replace(upper(trading_symbol), ' ', '') as spelling,
        2 as preference
    from instruments
    union all
    select
        instrument_id,
        replace(upper(instrument_key), ' ', '') as spelling,
        1 as preference
    from instruments
    union all
    select
        instrument_id,
        replace(upper(split_part(trading_symbol, ' FUT ', 1)), ' ', '') || 'FUT' as spelling,
        3 as preference
    from instruments
    where
        instrument_type = 'FUT'
        and expiry >= %(on)s
    union all
    select
        instrument_id,
        replace(upper(name), ' ', '') as spelling,
        4 as preference
    from instruments
    where expiry is null
)

select distinct on (spelled.spelling)
    spelled.spelling,
    instrument.instrument_id,
    instrument.instrument_key,
    instrument.trading_symbol,
    instrument.instrument_type,
    instrument.segment,
    instrument.expiry,
    instrument.strike,
    instrument.lot_size
from spelled_instruments as spelled
inner join instruments as instrument using (instrument_id)
where spelled.spelling = any(%(spellings)s)
order by
    spelled.spelling,
    (instrument.expiry is not null and instrument.expiry < %(on)s),
    spelled.preference,
    array_position(array['NSE', 'NCD', 'BSE', 'BCD'], left(instrument.segment, 3)) nulls last,
    array_position(array['INDEX', 'EQ'], instrument.instrument_type) nulls last,
    abs(instrument.expiry - %(on)s) nulls last,
    instrument.instrument_id
