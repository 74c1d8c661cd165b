-- All ticks of a UTC day, in the order of the export. Expect: up to 20 million rows; read them in pieces.
-- Parameters: start, end timestamptz, half-open, of ts.
-- Columns: those of ticks, by instrument_id, ts, seq.
select
    ts,
    instrument_id,
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
where ts >= %(start)s and ts < %(end)s
order by instrument_id, ts, seq
