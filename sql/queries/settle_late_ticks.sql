-- Move the ticks that wait for a transaction of their own to `ticks`; two sessions may do it at once.
-- No parameters. Columns: ts_us float8, epoch microseconds of each. Expect: a few rows, mostly none.
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

select extract(epoch from ts)::float8 * 1000000 as ts_us
from settled
