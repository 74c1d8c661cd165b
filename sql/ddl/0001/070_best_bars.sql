-- The official bar where there is one, else the tick-built one. There is at most one of each per
-- bucket, so the aggregates only put the two side by side. It is a union under a grouping, not a
-- join, because conditions on instrument_id and bucket then reach the tables on both sides.
-- quality: 'thin' where the bar is tick-built from a single trade, else 'complete'.
create view public.best_bars_1m as
with candidate_bars as (
    select
        instrument_id,
        bucket,
        open,
        high,
        low,
        close,
        volume,
        oi,
        null::bigint as ticks,
        null::bigint as trades,
        source
    from public.official_bars_1m
    union all
    select
        instrument_id,
        bucket,
        open,
        high,
        low,
        close,
        volume,
        oi,
        ticks,
        trades,
        null as source
    from public.bars_1m
)

select
    instrument_id,
    bucket,
    coalesce(max(open) filter (where source is not null), max(open)) as open,
    coalesce(max(high) filter (where source is not null), max(high)) as high,
    coalesce(max(low) filter (where source is not null), max(low)) as low,
    coalesce(max(close) filter (where source is not null), max(close)) as close,
    coalesce(max(volume) filter (where source is not null), max(volume)) as volume,
    coalesce(max(oi) filter (where source is not null), max(oi)) as oi,
    coalesce(max(ticks), 0) as ticks,
    coalesce(max(trades), 0) as trades,
    case when max(source) = 'I1' then 'official' when max(source) is not null then 'backfill' else 'ticks' end as source,
    case when max(source) is null and max(trades) < 2 then 'thin' else 'complete' end as quality
from candidate_bars
group by instrument_id, bucket;

-- The same in five minutes. source: that of its minutes, 'mixed' where they differ.
-- quality: 'thin' where one of its minutes is.
create view public.best_bars_5m as
select
    instrument_id,
    tickline.bucket_5m(bucket) as bucket,
    (array_agg(open order by bucket))[1] as open,
    max(high) as high,
    min(low) as low,
    (array_agg(close order by bucket))[count(*)] as close,
    sum(volume)::bigint as volume,
    (array_agg(oi order by bucket) filter (where oi is not null))[count(oi)] as oi,
    sum(ticks)::bigint as ticks,
    sum(trades)::bigint as trades,
    case when min(source) = max(source) then min(source) else 'mixed' end as source,
    case when bool_or(quality = 'thin') then 'thin' else 'complete' end as quality
from public.best_bars_1m
group by instrument_id, tickline.bucket_5m(bucket);
