-- The best minute bars of instruments, in no order. Expect: 375 rows per instrument and session.
-- Parameters: instrument_ids int4[]; start, end timestamptz, half-open, of the bucket ('-infinity', 'infinity').
-- Columns: instrument_id, bucket, open, high, low, close (rupees), volume, oi (units), source, quality.
-- Example: instrument_ids => '{1,2}', start => '2025-12-15 03:45+00', end => '2025-12-15 10:00+00'
select
    instrument_id,
    bucket,
    open,
    high,
    low,
    close,
    volume,
    oi,
    source,
    quality
from best_bars_1m
where
    instrument_id = any(%(instrument_ids)s::int4[])
    and bucket >= %(start)s
    and bucket < %(end)s
