-- Ticks of a range of records as rows of JSON, in order of arrival: instrument_key, trading_symbol, then the columns of
-- ticks without instrument_id, times in UTC. By the index of (instrument_id, ts): one descent for each instrument.
-- Includes ticks that wait for their own transaction.
-- Parameters: instrument_keys text[], null: all that have ticked; first_ts, last_ts timestamptz, both inclusive;
-- after, until int8 (seq; after is not included). Columns: row text. Expect: the ticks of a MiB of the journal.
with asked as materialized (
    select
        instrument_id,
        instrument_key,
        trading_symbol
    from instruments
    where
        case
            when %(instrument_keys)s::text[] is null
                then instrument_id in (select active.instrument_id from tickline.active_instruments as active)
            else instrument_key = any(%(instrument_keys)s::text[])
        end
)

select
    json_build_array(
        asked.instrument_key,
        asked.trading_symbol,
        to_char(tick.ts at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        tick.seq,
        tick.traded,
        tick.ltp,
        tick.ltq,
        to_char(tick.ltt at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        tick.vtt,
        tick.volume,
        tick.oi,
        tick.atp,
        tick.tbq,
        tick.tsq,
        tick.bid,
        tick.bid_qty,
        tick.ask,
        tick.ask_qty,
        tick.iv,
        tick.delta,
        tick.gamma,
        tick.theta,
        tick.vega,
        tick.rho,
        tick.day_open,
        tick.day_high,
        tick.day_low,
        tick.prev_close,
        to_char(tick.received_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    )::text as row
from asked
cross join lateral (
    (
        select
            ts,
            seq,
            traded,
            ltp,
            ltq,
            ltt,
            vtt,
            volume,
            oi,
            atp,
            tbq,
            tsq,
            bid,
            bid_qty,
            ask,
            ask_qty,
            iv,
            delta,
            gamma,
            theta,
            vega,
            rho,
            day_open,
            day_high,
            day_low,
            prev_close,
            received_at
        from ticks
        where
            ticks.instrument_id = asked.instrument_id
            and ticks.ts >= %(first_ts)s
            and ticks.ts <= %(last_ts)s
            and ticks.seq > %(after)s
            and ticks.seq <= %(until)s
    )
    union all
    (
        select
            ts,
            seq,
            traded,
            ltp,
            ltq,
            ltt,
            vtt,
            volume,
            oi,
            atp,
            tbq,
            tsq,
            bid,
            bid_qty,
            ask,
            ask_qty,
            iv,
            delta,
            gamma,
            theta,
            vega,
            rho,
            day_open,
            day_high,
            day_low,
            prev_close,
            received_at
        from tickline.late_ticks
        where
            late_ticks.instrument_id = asked.instrument_id
            and late_ticks.ts >= %(first_ts)s
            and late_ticks.ts <= %(last_ts)s
            and late_ticks.seq > %(after)s
            and late_ticks.seq <= %(until)s
    )
) as tick
order by tick.seq
