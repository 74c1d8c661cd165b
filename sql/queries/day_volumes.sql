-- What each instrument traded on a day: the volume of its bars, the volume that gaps hid, and the last count
-- of the exchange. bar_volume + gap_volume = day_volume, or something is missing or there twice.
-- Parameters: start, end timestamptz, half-open: one day of the market.
-- Columns: instrument_id int4, instrument_key text, bar_volume, gap_volume, day_volume int8 (units).
-- Expect: a scan of the day's ticks; one row for each instrument that has a volume.
with traded as (
    select
        instrument_id,
        max(vtt) as day_volume
    from ticks
    where ts >= %(start)s and ts < %(end)s
    group by instrument_id
),

in_bars as (
    select
        instrument_id,
        sum(volume)::int8 as bar_volume
    from bars_1m
    where bucket >= %(start)s and bucket < %(end)s
    group by instrument_id
),

in_gaps as (
    select
        instrument_id,
        sum(volume)::int8 as gap_volume
    from feed_gaps
    where ended_at >= %(start)s and ended_at < %(end)s and volume is not null
    group by instrument_id
)

select
    traded.instrument_id,
    instruments.instrument_key,
    coalesce(in_bars.bar_volume, 0) as bar_volume,
    coalesce(in_gaps.gap_volume, 0) as gap_volume,
    traded.day_volume
from traded
inner join instruments on instruments.instrument_id = traded.instrument_id
left join in_bars on in_bars.instrument_id = traded.instrument_id
left join in_gaps on in_gaps.instrument_id = traded.instrument_id
where traded.day_volume is not null
order by traded.instrument_id
