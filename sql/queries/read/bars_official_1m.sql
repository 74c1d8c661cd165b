-- The vendor's own minute bars, unordered. Expect: 375 rows per instrument and session.
-- Parameters: instrument_ids int4[], null for all; start, end timestamptz, half-open, of the bucket ('-infinity', 'infinity').
-- Columns: instrument_id, bucket, open, high, low, close (rupees), volume, oi (units); backfilled bool: it came from REST, not
-- from the feed; auction bool: it is of the opening auction.
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
    source <> 'I1' as backfilled,
    (
        tickline.is_before_open(bucket)
        or tickline.market_day(bucket) in (select day from tickline.special_sessions)
    ) and tickline.is_auction(instrument_id, bucket) as auction
from official_bars_1m
where
    (%(instrument_ids)s::int4[] is null or instrument_id = any(%(instrument_ids)s::int4[]))
    and bucket >= %(start)s
    and bucket < %(end)s
