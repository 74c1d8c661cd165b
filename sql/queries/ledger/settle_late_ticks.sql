-- Move ticks that wait for their own transaction to `ticks`; two sessions may do it at once.
-- No parameters. Rows: one, without meaning; the minutes are recorded as touched. Expect: a few ticks, usually none.
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

select tickline.touch_minutes(array(select ts from settled))
