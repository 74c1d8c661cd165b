-- Move the ticks that wait for a transaction of their own to `ticks`; two sessions may do it at once.
-- No parameters. Rows: none; the minutes are noted as touched. Expect: a few ticks, mostly none.
with late as (
    delete from tickline.late_ticks
    returning
        ts, instrument_id, seq, traded, ltp, ltq, ltt, vtt, volume, oi, atp, tbq, tsq, bid, bid_qty, ask,
        ask_qty, iv, delta, gamma, theta, vega, rho, day_open, day_high, day_low, prev_close, received_at
),

settled as (
    insert into ticks (
        ts, instrument_id, seq, traded, ltp, ltq, ltt, vtt, volume, oi, atp, tbq, tsq, bid, bid_qty, ask,
        ask_qty, iv, delta, gamma, theta, vega, rho, day_open, day_high, day_low, prev_close, received_at
    )
    select
        ts, instrument_id, seq, traded, ltp, ltq, ltt, vtt, volume, oi, atp, tbq, tsq, bid, bid_qty, ask,
        ask_qty, iv, delta, gamma, theta, vega, rho, day_open, day_high, day_low, prev_close, received_at
    from late
    returning ts
)

insert into tickline.touched_minutes as touched (minute, last_ts)
select
    tickline.bucket_1m(ts) as minute,
    max(ts) as last_ts
from settled
group by minute
order by minute
on conflict (minute) do update
set
    last_ts = greatest(touched.last_ts, excluded.last_ts),
    touched_by = excluded.touched_by
