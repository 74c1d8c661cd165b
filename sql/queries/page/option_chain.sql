-- The option chain of an expiry, as it was last reported at a time, with all greeks.
-- Expect: a row per strike, a few index look-ups each.
-- Parameters: underlying_key text; at timestamptz; expiry date.
-- Columns: strike (rupees); for calls and puts each: ltp, bid, ask (rupees), volume, oi (units), iv (fraction), delta,
-- gamma, theta, vega, instrument_id.
select
    chain.strike,
    chain.call_ltp,
    chain.call_bid,
    chain.call_ask,
    chain.call_volume,
    chain.call_oi,
    chain.call_iv,
    chain.call_delta,
    call_tick.gamma as call_gamma,
    call_tick.theta as call_theta,
    call_tick.vega as call_vega,
    chain.call_id,
    chain.put_ltp,
    chain.put_bid,
    chain.put_ask,
    chain.put_volume,
    chain.put_oi,
    chain.put_iv,
    chain.put_delta,
    put_tick.gamma as put_gamma,
    put_tick.theta as put_theta,
    put_tick.vega as put_vega,
    chain.put_id
from option_chain(%(underlying_key)s, %(at)s::timestamptz, %(expiry)s::date) as chain
left join lateral (
    select
        ticks.gamma,
        ticks.theta,
        ticks.vega
    from ticks
    where ticks.instrument_id = chain.call_id and ticks.ts = chain.call_at
    order by ticks.seq desc
    limit 1
) as call_tick on true
left join lateral (
    select
        ticks.gamma,
        ticks.theta,
        ticks.vega
    from ticks
    where ticks.instrument_id = chain.put_id and ticks.ts = chain.put_at
    order by ticks.seq desc
    limit 1
) as put_tick on true
order by chain.strike
