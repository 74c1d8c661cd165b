-- Five-minute bars from the one-minute bars.
create materialized view public.bars_5m
with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
    instrument_id,
    time_bucket('5 minutes', bucket) as bucket,
    first(open, bucket) as open,
    max(high) as high,
    min(low) as low,
    last(close, bucket) as close,
    sum(volume)::bigint as volume,
    last(oi, bucket) filter (where oi is not null) as oi,
    sum(ticks)::bigint as ticks,
    sum(trades)::bigint as trades,
    last(iv, bucket) filter (where iv is not null) as iv,
    last(delta, bucket) filter (where delta is not null) as delta,
    last(gamma, bucket) filter (where gamma is not null) as gamma
from public.bars_1m
group by instrument_id, time_bucket('5 minutes', bucket)
with no data;

alter materialized view public.bars_5m set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'instrument_id',
    timescaledb.orderby = 'bucket'
);

select add_continuous_aggregate_policy(
    'public.bars_5m',
    start_offset => interval '2 days',
    end_offset => interval '5 minutes',
    schedule_interval => interval '1 minute'
);

call add_columnstore_policy('public.bars_5m', after => interval '14 days');
