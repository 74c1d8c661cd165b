-- One-minute bars from rows that report a trade, and five-minute bars from them. As in revision 0001, except for the
-- volume.
-- volume: the sum of the steps of vtt, if it equals the hull of the traded ranges (vtt - volume, vtt]; this is exact
-- without reading neighbouring bars. If the two differ, `tickline.counted_volume` reads the rows.
-- A continuous aggregate cannot be altered: new ones replace the old and take over their stored bars, because the
-- ticks of many days may be dropped. `tickline.show_kept_bars` makes these visible, outside of this transaction.
alter materialized view public.bars_1m rename to bars_1m_before_0003;
alter materialized view public.bars_5m rename to bars_5m_before_0003;

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

-- Take over the stored bars, then make those of dropped days final: see tickline.keep_final_bars.
do $$
declare
    old_bars regclass;
    new_bars regclass;
    name text;
begin
    foreach name in array array['bars_1m', 'bars_5m']
    loop
        select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) into strict old_bars
        from timescaledb_information.continuous_aggregates
        where view_schema = 'public' and view_name = name || '_before_0003';
        select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) into strict new_bars
        from timescaledb_information.continuous_aggregates
        where view_schema = 'public' and view_name = name;
        execute format(
            'insert into %s (instrument_id, bucket, open, high, low, close, volume, oi, ticks, trades, iv, delta, gamma) '
            'select instrument_id, bucket, open, high, low, close, volume, oi, ticks, trades, iv, delta, gamma from %s',
            new_bars,
            old_bars
        );
        execute format(
            'create trigger final_bars before insert or update or delete on %s '
            'for each row execute function tickline.keep_final_bars()',
            new_bars
        );
    end loop;
end
$$;

drop materialized view public.bars_5m_before_0003;
drop materialized view public.bars_1m_before_0003;

alter materialized view public.bars_1m set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'instrument_id',
    timescaledb.orderby = 'bucket'
);
alter materialized view public.bars_5m set (
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
select add_continuous_aggregate_policy(
    'public.bars_5m',
    start_offset => interval '2 days',
    end_offset => interval '5 minutes',
    schedule_interval => interval '1 minute'
);

call add_columnstore_policy('public.bars_1m', after => interval '14 days');
call add_columnstore_policy('public.bars_5m', after => interval '14 days');
