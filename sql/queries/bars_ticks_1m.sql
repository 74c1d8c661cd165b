-- The minute bars made from ticks, in no order. Expect: 375 rows per instrument and session.
-- quality: what unheard_minutes says, else 'thin' where the bar is made from a single trade, else 'complete'.
-- Parameters: instrument_ids int4[]; start, end timestamptz, half-open, of the bucket ('-infinity', 'infinity').
-- Columns: instrument_id, bucket, open, high, low, close (rupees), volume, oi (units), source, quality.
-- Example: instrument_ids => '{1,2}', start => '2025-12-15 03:45+00', end => '2025-12-15 10:00+00'
with unheard as (
    select
        instrument_id,
        bucket as bucket,
        min(quality) as quality
    from unheard_minutes
    where
        instrument_id = any(%(instrument_ids)s::int4[])
        and bucket >= %(start)s
        and bucket < %(end)s
    group by 1, 2
)

select
    bars.instrument_id,
    bars.bucket,
    bars.open,
    bars.high,
    bars.low,
    bars.close,
    bars.volume,
    bars.oi,
    'ticks' as source,
    coalesce(unheard.quality, case when bars.trades < 2 then 'thin' else 'complete' end) as quality
from bars_1m as bars
left join unheard on unheard.instrument_id = bars.instrument_id and unheard.bucket = bars.bucket
where
    bars.instrument_id = any(%(instrument_ids)s::int4[])
    and bars.bucket >= %(start)s
    and bars.bucket < %(end)s
