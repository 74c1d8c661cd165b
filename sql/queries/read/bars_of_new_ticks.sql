-- Minute bars made from the ticks of a few minutes that are all there, unordered: the same as `read/bars_ticks_1m`, which
-- looks for stored bars first and on TimescaleDB takes a third longer. Expect: one row per instrument and minute; the
-- ticks are found by one look into the index for each instrument.
-- Parameters: instrument_ids int4[], null for all; from_id, below_id int4, a share of them to read by itself, null for no
-- bound; start, end timestamptz, half-open, of the bucket.
-- Columns: instrument_id, bucket, open, high, low, close (rupees), volume, oi (units); thin bool: made from one trade;
-- auction bool: of the opening auction; iv, delta, gamma: last values in the bar, null unless it is an option.
-- Example: instrument_ids => '{1,2}', from_id => null, below_id => null, start => '2025-12-15 03:45+00', end => '2025-12-15 03:46+00'
with bars as (
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
        count(*) filter (where traded) as trades,
        (array_agg(iv order by ts, seq) filter (where iv is not null))[count(iv)] as iv,
        (array_agg(delta order by ts, seq) filter (where delta is not null))[count(delta)] as delta,
        (array_agg(gamma order by ts, seq) filter (where gamma is not null))[count(gamma)] as gamma
    from ticks
    where
        (%(instrument_ids)s::int4[] is null or instrument_id = any(%(instrument_ids)s::int4[]))
        and (%(from_id)s::int4 is null or instrument_id >= %(from_id)s::int4)
        and (%(below_id)s::int4 is null or instrument_id < %(below_id)s::int4)
        and ts >= %(start)s
        and ts < %(end)s
    group by instrument_id, tickline.bucket_1m(ts)
    having count(*) filter (where traded) > 0
)

select
    instrument_id,
    bucket,
    open,
    high,
    low,
    close,
    volume,
    oi,
    trades < 2 as thin,
    (
        tickline.is_before_open(bucket)
        or tickline.market_day(bucket) in (select day from tickline.special_sessions)
    ) and tickline.is_auction(instrument_id, bucket) as auction,
    iv,
    delta,
    gamma
from bars
