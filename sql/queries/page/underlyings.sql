-- Underlyings whose options ticked in the newest session.
-- Expect: a row per underlying and expiry; an index look-up per option.
-- Parameters: none.
-- Columns: underlying_key, underlying (what a trader types), expiry.
with session as materialized (
    select
        last_session() as begins,
        (last_session() at time zone 'Asia/Kolkata')::date as day
),

options as materialized (
    select
        instrument_id,
        underlying_key,
        expiry
    from instruments
    where instrument_type in ('CE', 'PE') and expiry >= (select day from session)
),

chains as (
    select distinct
        options.underlying_key,
        options.expiry
    from latest_ticks as last_tick
    inner join options using (instrument_id)
    where last_tick.ts >= (select begins from session)
)

select
    chains.underlying_key,
    coalesce(spot.trading_symbol, spot.name, chains.underlying_key) as underlying,
    chains.expiry
from chains
left join instruments as spot on spot.instrument_key = chains.underlying_key and spot.expiry is null
order by underlying, chains.expiry
