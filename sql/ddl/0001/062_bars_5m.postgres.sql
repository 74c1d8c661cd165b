-- Five-minute bars from the one-minute bars.
create function tickline.compute_bars_5m(from_bucket timestamptz, to_bucket timestamptz)
returns setof tickline.bars_5m_stored
language sql stable
begin atomic
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
    (array_agg(iv order by bucket) filter (where iv is not null))[count(iv)] as iv,
    (array_agg(delta order by bucket) filter (where delta is not null))[count(delta)] as delta,
    (array_agg(gamma order by bucket) filter (where gamma is not null))[count(gamma)] as gamma
from public.bars_1m
where bucket >= from_bucket and bucket < to_bucket
group by instrument_id, tickline.bucket_5m(bucket);
end;

create view public.bars_5m as
select
    stored.instrument_id,
    stored.bucket,
    stored.open,
    stored.high,
    stored.low,
    stored.close,
    stored.volume,
    stored.oi,
    stored.ticks,
    stored.trades,
    stored.iv,
    stored.delta,
    stored.gamma
from tickline.bars_5m_stored as stored
where stored.bucket < (select watermark from tickline.bar_watermarks where bars = 'bars_5m')
union all
select
    computed.instrument_id,
    computed.bucket,
    computed.open,
    computed.high,
    computed.low,
    computed.close,
    computed.volume,
    computed.oi,
    computed.ticks,
    computed.trades,
    computed.iv,
    computed.delta,
    computed.gamma
from tickline.bar_watermarks
cross join lateral tickline.compute_bars_5m(bar_watermarks.watermark, 'infinity') as computed
where bar_watermarks.bars = 'bars_5m';
