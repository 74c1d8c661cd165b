-- Whether a minute belongs to the opening auction, in which shares and their derivatives match orders before the
-- session opens. The auction has its own bars, so that its volume can be counted or left out.
create function tickline.is_before_open(bucket timestamptz) returns boolean
language sql immutable strict parallel safe
return (bucket at time zone 'Asia/Kolkata')::time >= '09:00' and (bucket at time zone 'Asia/Kolkata')::time < '09:15';

-- Currencies and commodities trade from 09:00 on. Evaluated only for the few minutes before the open.
create function tickline.opens_early(id integer) returns boolean
language sql stable strict parallel safe
return exists (
    select
    from public.instruments
    where instrument_id = id and segment in ('NCD_FO', 'BCD_FO', 'MCX_FO', 'MCX_INDEX', 'NSE_COM')
);

-- The official bar if there is one, otherwise the bar made from ticks. There is at most one of each per bucket, so the
-- aggregates only put the two side by side, and add whether the minute was completely received. It is a union under a
-- grouping, not a join, so that conditions on instrument_id and bucket reach the tables on all sides. A minute with a
-- row here but without a close has no bar.
create view tickline.minutes as
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
        null::double precision as iv,
        null::double precision as delta,
        null::double precision as gamma,
        source,
        null as unheard
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
        iv,
        delta,
        gamma,
        null as source,
        null as unheard
    from public.bars_1m
    union all
    select
        instrument_id,
        bucket,
        null as open,
        null as high,
        null as low,
        null as close,
        null as volume,
        null as oi,
        null as ticks,
        null as trades,
        null as iv,
        null as delta,
        null as gamma,
        null as source,
        quality as unheard
    from public.unheard_minutes
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
    case
        when max(unheard) is not null then max(unheard)
        when max(source) is null and max(trades) < 2 then 'thin'
        when tickline.is_before_open(bucket) and not tickline.opens_early(instrument_id) then 'auction'
        else 'complete'
    end as quality,
    max(iv) as iv,
    max(delta) as delta,
    max(gamma) as gamma
from candidate_bars
group by instrument_id, bucket;

create view public.best_bars_1m as
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
    source,
    quality,
    iv,
    delta,
    gamma
from tickline.minutes
where close is not null;

-- The same for five minutes. source: that of its minutes, 'mixed' if they differ. quality: the worst of its minutes,
-- including those without a bar.
create view public.best_bars_5m as
select
    instrument_id,
    tickline.bucket_5m(bucket) as bucket,
    (array_agg(open order by bucket) filter (where close is not null))[1] as open,
    max(high) as high,
    min(low) as low,
    (array_agg(close order by bucket) filter (where close is not null))[count(close)] as close,
    sum(volume)::bigint as volume,
    (array_agg(oi order by bucket) filter (where oi is not null))[count(oi)] as oi,
    sum(ticks)::bigint as ticks,
    sum(trades)::bigint as trades,
    case
        when min(source) filter (where close is not null) = max(source) filter (where close is not null)
            then min(source) filter (where close is not null)
        else 'mixed'
    end as source,
    case
        when bool_or(quality = 'gap') then 'gap'
        when bool_or(quality = 'partial') then 'partial'
        when bool_or(quality = 'thin') then 'thin'
        when bool_or(quality = 'auction') then 'auction'
        else 'complete'
    end as quality,
    (array_agg(iv order by bucket) filter (where iv is not null))[count(iv)] as iv,
    (array_agg(delta order by bucket) filter (where delta is not null))[count(delta)] as delta,
    (array_agg(gamma order by bucket) filter (where gamma is not null))[count(gamma)] as gamma
from tickline.minutes
group by instrument_id, tickline.bucket_5m(bucket)
having count(close) > 0;
