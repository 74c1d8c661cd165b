-- Instruments that names mean on a day. A spelling is a name in upper case without spaces. In order of preference it
-- is an instrument key, a trading symbol, an underlying with FUT (its unexpired future nearest to expiry), or the full
-- name of an instrument without expiry, such as 'Nifty Bank'. Among several: not expired; still in the vendor's list
-- on that day; NSE before BSE before others; an index, then a share by its series, then others; nearest expiry; known
-- on that day, otherwise known soonest after; in the list now; the newest.
-- Parameters: spellings text[], on date (market-local).
-- Columns: spelling text, then those of an instrument. Expect: one row per spelling; several if nothing distinguishes
-- them.
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
),

ranked_instruments as (
    select
        spelled.spelling,
        instrument.instrument_id,
        instrument.instrument_key,
        instrument.trading_symbol,
        instrument.instrument_type,
        instrument.segment,
        instrument.expiry,
        instrument.strike,
        instrument.lot_size,
        rank() over (
            partition by spelled.spelling
            order by
                (instrument.expiry is not null and instrument.expiry < %(on)s),
                coalesce((instrument.valid_to at time zone 'Asia/Kolkata')::date <= %(on)s, false),
                spelled.preference,
                array_position(array['NSE', 'NCD', 'BSE', 'BCD'], left(instrument.segment, 3)) nulls last,
                -- Shares by series: freely traded, delivery only, under watch; then small companies; then BSE's groups.
                array_position(
                    array[
                        'INDEX', 'EQ', 'BE', 'BZ', 'SM', 'ST', 'SZ',
                        'A', 'B', 'T', 'X', 'XT', 'Z', 'ZP', 'M', 'MT', 'MS'
                    ],
                    instrument.instrument_type
                ) nulls last,
                abs(instrument.expiry - %(on)s) nulls last,
                greatest((instrument.valid_from at time zone 'Asia/Kolkata')::date, %(on)s),
                (instrument.valid_to is not null),
                (instrument.valid_from at time zone 'Asia/Kolkata')::date desc
        ) as place
    from spelled_instruments as spelled
    inner join instruments as instrument using (instrument_id)
    where spelled.spelling = any(%(spellings)s)
)

select distinct on (spelling, instrument_key)
    spelling,
    instrument_id,
    instrument_key,
    trading_symbol,
    instrument_type,
    segment,
    expiry,
    strike,
    lot_size
from ranked_instruments
where place = 1
order by
    spelling,
    instrument_key,
    instrument_id
