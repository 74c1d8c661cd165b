-- Check that the stored bars of a range equal those that its ticks make. Expect: a scan of the range's ticks; one row.
-- Parameters: start, end timestamptz, half-open, of ts: whole days.
-- Columns int8: ticks; bars: minutes with a trade; not_kept: minutes whose bar is not stored but computed when read;
-- stale: minutes whose bar was made from other ticks; stale_5m: five-minute bars that differ from their minutes.
with made as (
    select
        instrument_id,
        tickline.bucket_1m(ts) as bucket,
        count(*) as ticks,
        count(*) filter (where traded) as trades,
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
        end as volume
    from ticks
    where ts >= %(start)s and ts < %(end)s
    group by 1, 2
),

minutes as (
    select
        made.instrument_id,
        made.bucket,
        made.ticks,
        made.trades,
        made.bucket >= tickline.bar_watermark('bars_1m')
        or tickline.bucket_5m(made.bucket) >= tickline.bar_watermark('bars_5m') as is_computed,
        (bars.ticks, bars.trades, bars.volume) is distinct from (made.ticks, made.trades, made.volume) as is_stale
    from made
    left join bars_1m as bars
        on bars.instrument_id = made.instrument_id
        and bars.bucket = made.bucket
        and bars.bucket >= %(start)s
        and bars.bucket < %(end)s
    where made.trades > 0
),

fives as (
    select
        instrument_id,
        tickline.bucket_5m(bucket) as bucket,
        sum(ticks)::bigint as ticks,
        sum(trades)::bigint as trades
    from minutes
    group by 1, 2
)

select
    (select coalesce(sum(ticks), 0)::bigint from made) as ticks,
    (select count(*) from minutes) as bars,
    (select count(*) from minutes where is_computed) as not_kept,
    (select count(*) from minutes where is_stale) as stale,
    (
        select count(*)
        from fives
        left join bars_5m as bars
            on bars.instrument_id = fives.instrument_id
            and bars.bucket = fives.bucket
            and bars.bucket >= %(start)s
            and bars.bucket < %(end)s
        where (bars.ticks, bars.trades) is distinct from (fives.ticks, fives.trades)
    ) as stale_5m
