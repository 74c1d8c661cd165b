-- One-minute bars out of the rows that report a trade; a minute without one is no bar. As in revision 0001, but
-- for the volume.
-- volume: the sum of the steps of vtt, where it is the hull of the traded ranges (vtt - volume, vtt]: exact without
-- a look at the neighbours. Where the two differ, `tickline.counted_volume` looks at the rows.
-- high, low: also the day's extreme where it moved inside the minute, which proves a trade that the feed skipped.
-- Aggregates in order have one order, so the rows are sorted once. The planner puts the body in place of
-- the call: conditions on the result reach the ticks. Bars that are kept stay as they were made.
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
