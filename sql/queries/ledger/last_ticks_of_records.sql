-- The last tick of each instrument in a range of committed records, from the table.
-- Ordered by market day, then trade, then arrival: the tick that later ticks are compared with. Skipped if there is
-- another: a row without a volume count, such as one from quarantine; and a quote whose count is below the day's
-- largest, which is a glitch or comes after a reset.
-- Parameters: collector, stream text; first_seq, last_seq int8. Columns: instrument_key text, then those of ticks,
-- times in epoch microseconds (int8). Of a long range only the last day counts.
-- Expect: a scan of the ticks of the batches; one row for each instrument, none if the ledger has no such batch.
with batches as (
    select
        first_ts,
        last_ts
    from tickline.ledger
    where
        collector = %(collector)s
        and starts_with(segment, %(stream)s || '/')
        and first_seq <= %(last_seq)s
        and last_seq >= %(first_seq)s
),

span as (
    select
        greatest(min(first_ts), max(last_ts) - interval '1 day') as first_ts,
        max(last_ts) as last_ts
    from batches
)

select distinct on (ticks.instrument_id)
    instruments.instrument_key,
    (extract(epoch from ticks.ts) * 1000000)::int8 as ts,
    ticks.instrument_id,
    ticks.seq,
    ticks.traded,
    ticks.ltp,
    ticks.ltq,
    (extract(epoch from ticks.ltt) * 1000000)::int8 as ltt,
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
    (extract(epoch from ticks.received_at) * 1000000)::int8 as received_at
from ticks
inner join instruments on instruments.instrument_id = ticks.instrument_id
where
    ticks.ts >= (select span.first_ts from span)
    and ticks.ts <= (select span.last_ts from span)
    and ticks.seq between %(first_seq)s and %(last_seq)s
order by
    ticks.instrument_id,
    (ticks.ts at time zone 'Asia/Kolkata')::date desc,
    (ticks.vtt is null),
    (
        coalesce(ticks.volume, 1) = 0
        and ticks.vtt < max(ticks.vtt) over (
            partition by ticks.instrument_id, (ticks.ts at time zone 'Asia/Kolkata')::date
        )
    ),
    ticks.ltt desc nulls last,
    ticks.seq desc
