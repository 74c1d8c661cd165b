-- Minute bars made from ticks, unordered. Expect: 375 rows per instrument and session.
-- Parameters: instrument_ids int4[], null for all; from_id, below_id int4, a share of them to read by itself, null for no
-- bound; start, end timestamptz, half-open, of the bucket ('-infinity', 'infinity').
-- Columns: instrument_id, bucket, open, high, low, close (rupees), volume, oi (units); thin bool: made from one trade;
-- auction bool: of the opening auction; iv, delta, gamma: last values in the bar, null unless it is an option.
-- Example: instrument_ids => '{1,2}', from_id => null, below_id => null, start => '2025-12-15 03:45+00', end => '2025-12-15 10:00+00'
select
    instrument_id,
    bucket,
    open,
    high,
    low,
    close,
    volume,
    oi,
    trades < 2 as thin,
    (
        tickline.is_before_open(bucket)
        or tickline.market_day(bucket) in (select day from tickline.special_sessions)
    ) and tickline.is_auction(instrument_id, bucket) as auction,
    iv,
    delta,
    gamma
from bars_1m
where
    (%(instrument_ids)s::int4[] is null or instrument_id = any(%(instrument_ids)s::int4[]))
    and (%(from_id)s::int4 is null or instrument_id >= %(from_id)s::int4)
    and (%(below_id)s::int4 is null or instrument_id < %(below_id)s::int4)
    and bucket >= %(start)s
    and bucket < %(end)s
