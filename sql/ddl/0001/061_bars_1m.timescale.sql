-- One-minute bars from rows that report a trade; a minute without a trade has no bar.
-- volume: the hull of the traded ranges (vtt - volume, vtt], which is exact without reading neighbouring bars, and
-- which a repeated row cannot change.
-- high, low: include the day's extreme if it moved within the minute, which proves a trade that the feed skipped.
-- Event time, then order of arrival, as one number: rows and arrays cannot travel between parallel workers.
-- A microsecond has 10^12 steps, more than seq ever reaches.
create function tickline.tick_order(ts timestamptz, seq bigint) returns numeric
language sql immutable strict parallel safe
return extract(epoch from ts - timestamptz '1970-01-01 00:00:00+00') * 1e18 + seq;

create materialized view public.bars_1m
with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
    instrument_id,
    time_bucket('1 minute', ts) as bucket,
    first(ltp, tickline.tick_order(ts, seq)) filter (where traded) as open,
    greatest(
        max(ltp) filter (where traded),
        case when max(day_high) > min(day_high) then max(day_high) end
    ) as high,
    least(
        min(ltp) filter (where traded),
        case when min(day_low) < max(day_low) then min(day_low) end
    ) as low,
    last(ltp, tickline.tick_order(ts, seq)) filter (where traded) as close,
    max(vtt) filter (where traded) - min(vtt - volume) filter (where traded) as volume,
    last(oi, tickline.tick_order(ts, seq)) filter (where oi is not null) as oi,
    count(*) as ticks,
    count(*) filter (where traded) as trades,
    last(iv, tickline.tick_order(ts, seq)) filter (where iv is not null) as iv,
    last(delta, tickline.tick_order(ts, seq)) filter (where delta is not null) as delta,
    last(gamma, tickline.tick_order(ts, seq)) filter (where gamma is not null) as gamma
from public.ticks
group by instrument_id, time_bucket('1 minute', ts)
having count(*) filter (where traded) > 0
with no data;

alter materialized view public.bars_1m set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'instrument_id',
    timescaledb.orderby = 'bucket'
);

select add_continuous_aggregate_policy(
    'public.bars_1m',
    start_offset => interval '2 days',
    end_offset => interval '1 minute',
    schedule_interval => interval '1 minute'
);

call add_columnstore_policy('public.bars_1m', after => interval '14 days');
