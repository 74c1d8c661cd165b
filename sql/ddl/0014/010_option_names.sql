-- NIFTY 26000 CE means the contract nearest to expiry, as NIFTY FUT does.
create index instruments_option_spelling_idx
on public.instruments (
    (
        replace(upper(split_part(trading_symbol, ' ' || instrument_type || ' ', 1)), ' ', '') || instrument_type
    )
)
where instrument_type in ('CE', 'PE');

-- Instruments that names mean on a day: one for each spelling, several if nothing distinguishes them. A spelling is a
-- name in upper case without spaces. In order of preference it is an instrument key, a trading symbol, an underlying
-- with FUT, or with strike and CE or PE (its unexpired contract nearest to expiry), or the full name of an instrument
-- without expiry. Among several: not expired; still in the vendor's list on that day; NSE before BSE before others; an
-- index, then a share by its series, then others; nearest expiry; known on that day, otherwise known soonest after; in
-- the list now; the newest.
create or replace function tickline.resolve_names(spellings text[], on_day date)
returns table (spelling text, instrument_id integer)
language sql stable parallel safe
begin atomic
with spelled_instruments as (
    select
        replace(upper(one.instrument_key), ' ', '') as spelling,
        1 as preference,
        one.*
    from public.instruments as one
    where replace(upper(one.instrument_key), ' ', '') = any(spellings)
    union all
    select
        replace(upper(one.trading_symbol), ' ', '') as spelling,
        2 as preference,
        one.*
    from public.instruments as one
    where replace(upper(one.trading_symbol), ' ', '') = any(spellings)
    union all
    select
        replace(upper(split_part(one.trading_symbol, ' FUT ', 1)), ' ', '') || 'FUT' as spelling,
        3 as preference,
        one.*
    from public.instruments as one
    where
        one.instrument_type = 'FUT'
        and one.expiry >= on_day
        and replace(upper(split_part(one.trading_symbol, ' FUT ', 1)), ' ', '') || 'FUT' = any(spellings)
    union all
    select
        replace(upper(split_part(one.trading_symbol, ' ' || one.instrument_type || ' ', 1)), ' ', '')
        || one.instrument_type as spelling,
        3 as preference,
        one.*
    from public.instruments as one
    where
        one.instrument_type in ('CE', 'PE')
        and one.expiry >= on_day
        and replace(upper(split_part(one.trading_symbol, ' ' || one.instrument_type || ' ', 1)), ' ', '')
        || one.instrument_type = any(spellings)
    union all
    select
        replace(upper(one.name), ' ', '') as spelling,
        4 as preference,
        one.*
    from public.instruments as one
    where one.expiry is null and replace(upper(one.name), ' ', '') = any(spellings)
),

ranked_instruments as (
    select
        spelling,
        instrument_id,
        instrument_key,
        rank() over (
            partition by spelling
            order by
                (expiry is not null and expiry < on_day),
                coalesce(tickline.market_day(valid_to) <= on_day, false),
                preference,
                array_position(array['NSE', 'NCD', 'BSE', 'BCD'], left(segment, 3)) nulls last,
                -- Shares by series: freely traded, delivery only, under watch; then small companies; then BSE's groups.
                array_position(
                    array[
                        'INDEX', 'EQ', 'BE', 'BZ', 'SM', 'ST', 'SZ',
                        'A', 'B', 'T', 'X', 'XT', 'Z', 'ZP', 'M', 'MT', 'MS'
                    ],
                    instrument_type
                ) nulls last,
                abs(expiry - on_day) nulls last,
                greatest(tickline.market_day(valid_from), on_day),
                (valid_to is not null),
                tickline.market_day(valid_from) desc
        ) as place
    from spelled_instruments
)

select distinct on (spelling, instrument_key)
    spelling,
    instrument_id
from ranked_instruments
where place = 1
order by
    spelling,
    instrument_key,
    instrument_id;
end;
