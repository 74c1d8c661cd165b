-- Underlyings whose options ticked in the newest session.
-- Expect: a row per underlying and expiry.
-- Parameters: none.
-- Columns: underlying_key, underlying (what a trader types), expiry.
select distinct
    option.underlying_key,
    coalesce(spot.trading_symbol, spot.name, option.underlying_key) as underlying,
    option.expiry
from instruments as option
left join instruments as spot on spot.instrument_key = option.underlying_key and spot.expiry is null
where
    option.instrument_type in ('CE', 'PE')
    and option.expiry >= (last_session() at time zone 'Asia/Kolkata')::date
    and exists (
        select from ticks
        where ticks.instrument_id = option.instrument_id and ticks.ts >= last_session()
    )
order by underlying, option.expiry
