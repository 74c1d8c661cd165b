-- The last tick of each instrument that has ticked, with one index look-up for each. As in revision 0001, but the
-- instrument_id is the outer one, so that a condition on it, or a join with it, reads only its instruments.
create or replace view public.latest_ticks as
select
    last_tick.ts,
    active_instruments.instrument_id,
    last_tick.seq,
    last_tick.traded,
    last_tick.ltp,
    last_tick.ltq,
    last_tick.ltt,
    last_tick.vtt,
    last_tick.volume,
    last_tick.oi,
    last_tick.atp,
    last_tick.tbq,
    last_tick.tsq,
    last_tick.bid,
    last_tick.bid_qty,
    last_tick.ask,
    last_tick.ask_qty,
    last_tick.iv,
    last_tick.delta,
    last_tick.gamma,
    last_tick.theta,
    last_tick.vega,
    last_tick.rho,
    last_tick.day_open,
    last_tick.day_high,
    last_tick.day_low,
    last_tick.prev_close,
    last_tick.received_at
from tickline.active_instruments
cross join lateral (
    select
        ticks.ts,
        ticks.instrument_id,
        ticks.seq,
        ticks.traded,
        ticks.ltp,
        ticks.ltq,
        ticks.ltt,
        ticks.vtt,
        ticks.volume,
        ticks.oi,
        ticks.atp,
        ticks.tbq,
        ticks.tsq,
        ticks.bid,
        ticks.bid_qty,
        ticks.ask,
        ticks.ask_qty,
        ticks.iv,
        ticks.delta,
        ticks.gamma,
        ticks.theta,
        ticks.vega,
        ticks.rho,
        ticks.day_open,
        ticks.day_high,
        ticks.day_low,
        ticks.prev_close,
        ticks.received_at
    from public.ticks
    where ticks.instrument_id = active_instruments.instrument_id
    order by ticks.ts desc, ticks.seq desc
    limit 1
) as last_tick;
