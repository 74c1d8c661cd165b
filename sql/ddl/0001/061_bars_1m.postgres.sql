-- One-minute bars from rows that report a trade; a minute without a trade has no bar.
-- volume: the hull of the traded ranges (vtt - volume, vtt], which is exact without reading neighbouring bars, and
-- which a repeated row cannot change.
-- high, low: include the day's extreme if it moved within the minute, which proves a trade that the feed skipped.
-- All aggregates have one order, so the rows are sorted once. The planner inlines the body, so conditions on the
-- result reach the ticks.
create function tickline.compute_bars_1m(from_ts timestamptz, to_ts timestamptz)
returns setof tickline.bars_1m_stored
language sql stable
begin atomic
select
    instrument_id,
    tickline.bucket_1m(ts) as bucket,
    (array_agg(ltp order by ts, seq) filter (where traded))[1] as open,
    greatest(
        max(ltp) filter (where traded),
        case when max(day_high) > min(day_high) then max(day_high) end
    ) as high,
    least(
        min(ltp) filter (where traded),
        case when min(day_low) < max(day_low) then min(day_low) end
    ) as low,
    (array_agg(ltp order by ts, seq) filter (where traded))[count(*) filter (where traded)] as close,
    max(vtt) filter (where traded) - min(vtt - volume) filter (where traded) as volume,
    (array_agg(oi order by ts, seq) filter (where oi is not null))[count(oi)] as oi,
    count(*) as ticks,
    count(*) filter (where traded) as trades,
    (array_agg(iv order by ts, seq) filter (where iv is not null))[count(iv)] as iv,
    (array_agg(delta order by ts, seq) filter (where delta is not null))[count(delta)] as delta,
    (array_agg(gamma order by ts, seq) filter (where gamma is not null))[count(gamma)] as gamma
from public.ticks
where ts >= from_ts and ts < to_ts
group by instrument_id, tickline.bucket_1m(ts)
having count(*) filter (where traded) > 0;
end;

create view public.bars_1m as
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
from tickline.bars_1m_stored as stored
where stored.bucket < (select watermark from tickline.bar_watermarks where bars = 'bars_1m')
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
cross join lateral tickline.compute_bars_1m(bar_watermarks.watermark, 'infinity') as computed
where bar_watermarks.bars = 'bars_1m';
