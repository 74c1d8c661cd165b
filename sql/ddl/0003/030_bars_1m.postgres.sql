-- One-minute bars from rows that report a trade; a minute without a trade has no bar. As in revision 0001, except for
-- the volume.
-- volume: the sum of the steps of vtt, if it equals the hull of the traded ranges (vtt - volume, vtt]; this is exact
-- without reading neighbouring bars. If the two differ, `tickline.counted_volume` reads the rows.
-- high, low: include the day's extreme if it moved within the minute, which proves a trade that the feed skipped.
-- Ordered aggregates have one order, so the rows are sorted once. The planner inlines the body, so conditions on the
-- result reach the ticks. Stored bars stay as they were made.
create or replace function tickline.compute_bars_1m(from_ts timestamptz, to_ts timestamptz)
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
    case
        when
            max(vtt) filter (where traded) - min(vtt - volume) filter (where traded)
            = sum(volume) filter (where traded)
            then max(vtt) filter (where traded) - min(vtt - volume) filter (where traded)
        else tickline.counted_volume(
            array_agg(ts) filter (where traded and volume > 0),
            array_agg(vtt) filter (where traded and volume > 0),
            array_agg(volume) filter (where traded and volume > 0)
        )
    end as volume,
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
