-- Volume of each instrument on a day: of its bars, of its gaps, and as the exchange counted it. If
-- bar_volume + gap_volume differs from day_volume, something is missing or counted twice. The exchange's count is the
-- day's largest vtt; if vtt was reset, the sum over all runs of vtt, each from its first update to its largest.
-- Minutes whose bars still form or wait to be made (`tickline.touched_minutes`) are counted from ticks, not bars.
-- Parameters: start, end timestamptz, half-open: one day of the market.
-- Columns: instrument_id int4, instrument_key text, bar_volume, gap_volume, day_volume int8 (units).
-- Expect: a scan of the day's ticks; one row for each instrument with a volume.
with traded as (
    select
        instrument_id,
        max(vtt) as day_volume,
        sum(volume) filter (
            where traded and tickline.bucket_1m(ts) in (select minute from tickline.touched_minutes)
        )::int8 as unsettled_volume
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
        and bucket not in (select minute from tickline.touched_minutes)
    group by instrument_id
),

in_gaps as (
    select
        instrument_id,
        sum(volume)::int8 as gap_volume
    from feed_gaps
    where ended_at >= %(start)s and ended_at < %(end)s and volume is not null
    group by instrument_id
),

accounts as (
    select
        traded.instrument_id,
        coalesce(in_bars.bar_volume, 0) + coalesce(traded.unsettled_volume, 0) as bar_volume,
        coalesce(in_gaps.gap_volume, 0) as gap_volume,
        traded.day_volume
    from traded
    left join in_bars on in_bars.instrument_id = traded.instrument_id
    left join in_gaps on in_gaps.instrument_id = traded.instrument_id
    where traded.day_volume is not null
),

-- Updates that moved the reference, only of instruments whose volumes differ; vtt_before shows where a run begins.
moves as (
    select
        ticks.instrument_id,
        ticks.ltt,
        ticks.vtt,
        ticks.volume,
        lag(ticks.vtt) over (partition by ticks.instrument_id order by ticks.ltt, ticks.vtt) as vtt_before
    from ticks
    inner join accounts on accounts.instrument_id = ticks.instrument_id
    where
        accounts.bar_volume + accounts.gap_volume <> accounts.day_volume
        and ticks.ts >= %(start)s
        and ticks.ts < %(end)s
        and ticks.vtt is not null
        and ticks.volume is distinct from 0
),

counted as (
    select
        instrument_id,
        sum(case when vtt < vtt_before then volume else vtt - coalesce(vtt_before, 0) end)::int8 as day_volume
    from moves
    group by instrument_id
    having bool_or(vtt < vtt_before)
)

select
    accounts.instrument_id,
    instruments.instrument_key,
    accounts.bar_volume,
    accounts.gap_volume,
    coalesce(counted.day_volume, accounts.day_volume) as day_volume
from accounts
inner join instruments on instruments.instrument_id = accounts.instrument_id
left join counted on counted.instrument_id = accounts.instrument_id
order by accounts.instrument_id
