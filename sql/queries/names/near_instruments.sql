-- Listed names similar to an unknown one: they begin with its first letters, or contain it.
-- Parameters: spelling text (the name in upper case without spaces), on date (market-local),
-- candidates_max int4. Columns: name text, a trading symbol or, without one, an instrument key.
-- Expect: at most candidates_max rows, first those that contain it and the nearest expiries.
-- Example: spelling => 'INFI', on => '2025-12-15', candidates_max => 500
with living_instruments as (
    select
        coalesce(trading_symbol, instrument_key) as name,
        replace(upper(coalesce(trading_symbol, instrument_key)), ' ', '') as spelling,
        replace(upper(coalesce(name, '')), ' ', '') as full_spelling,
        expiry
    from instruments
    where
        (expiry is null or expiry >= %(on)s)
        and (valid_to is null or (valid_to at time zone 'Asia/Kolkata')::date > %(on)s)
)

select name
from living_instruments
where
    starts_with(spelling, left(%(spelling)s, 2))
    or strpos(spelling, %(spelling)s) > 0
    or starts_with(full_spelling, %(spelling)s)
group by name, spelling
order by
    strpos(spelling, %(spelling)s) = 0,
    min(expiry) nulls first,
    abs(length(spelling) - length(%(spelling)s)),
    name
limit %(candidates_max)s
