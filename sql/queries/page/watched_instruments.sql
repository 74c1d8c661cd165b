-- Instruments that ticked in the newest session, each with its last tick and the number of its signals since then.
-- Expect: a row per recorded instrument, a few index look-ups each.
-- Parameters: most, how many rows at most.
-- Columns: instrument_id, instrument_key, trading_symbol, segment, instrument_type, ltp (rupees), prev_close (rupees),
-- vtt (units), oi (units), ts (time of the tick), delay_ms (from its exchange time until it was received, milliseconds),
-- spikes (signals of the session).
with session as materialized (
    select last_session() as begins
),

living as materialized (
    select
        instrument_id,
        instrument_key,
        trading_symbol,
        segment,
        instrument_type
    from instruments
    where expiry is null or expiry >= (select (begins at time zone 'Asia/Kolkata')::date from session)
),

spikes as (
    select
        instrument_id,
        count(distinct bucket) as found
    from signals
    where bucket >= (select begins from session)
    group by instrument_id
)

select
    living.instrument_id,
    living.instrument_key,
    coalesce(living.trading_symbol, living.instrument_key) as trading_symbol,
    coalesce(living.segment, split_part(living.instrument_key, '|', 1)) as segment,
    living.instrument_type,
    last_tick.ltp,
    last_tick.prev_close,
    last_tick.vtt,
    last_tick.oi,
    last_tick.ts,
    extract(epoch from last_tick.received_at - last_tick.ts) * 1000 as delay_ms,
    coalesce(spikes.found, 0) as spikes
from latest_ticks as last_tick
inner join living using (instrument_id)
left join spikes using (instrument_id)
where last_tick.ts >= (select begins from session)
order by living.instrument_type = 'INDEX' desc nulls last, trading_symbol
limit %(most)s
