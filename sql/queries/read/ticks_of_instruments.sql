-- Ticks of instruments, unordered. Expect: 20,000 rows per instrument and session.
-- Parameters: instrument_ids int4[]; start, end timestamptz, half-open, of ts ('-infinity', 'infinity').
-- Columns: those of ticks.
-- Example: instrument_ids => '{1,2}', start => '2025-12-15 03:45+00', end => '2025-12-15 10:00+00'
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
where
    instrument_id = any(%(instrument_ids)s::int4[])
    and ts >= %(start)s
    and ts < %(end)s
