-- Our bar and the vendor's for every minute of a day, side by side, unordered.
-- Parameters: start, end timestamptz, half-open, of the bucket; instrument_ids int4[], null: all.
-- Columns: instrument_id, bucket; open, high, low, close, volume, trades of our bar, and official_open ...
-- official_volume, official_backfilled (bool: from REST) of the vendor's, null if there is none; is_gap bool: true: a
-- gap, false: partial, null: completely received; auction bool: of the opening auction; at_open bool: the first minute
-- after it.
-- Expect: 375 rows for each instrument that was traded.
with bars as (
    select
        instrument_id,
        bucket,
        open,
        high,
        low,
        close,
        volume,
        trades,
        null::float8 as official_open,
        null::float8 as official_high,
        null::float8 as official_low,
        null::float8 as official_close,
        null::int8 as official_volume,
        null::bool as official_backfilled,
        null::bool as is_gap
    from bars_1m
    where bucket >= %(start)s and bucket < %(end)s
    union all
    select
        instrument_id,
        bucket,
        null as open,
        null as high,
        null as low,
        null as close,
        null as volume,
        null as trades,
        open as official_open,
        high as official_high,
        low as official_low,
        close as official_close,
        volume as official_volume,
        source <> 'I1' as official_backfilled,
        null::bool as is_gap
    from official_bars_1m
    where bucket >= %(start)s and bucket < %(end)s
    union all
    select
        instrument_id,
        bucket,
        null as open,
        null as high,
        null as low,
        null as close,
        null as volume,
        null as trades,
        null as official_open,
        null as official_high,
        null as official_low,
        null as official_close,
        null as official_volume,
        null::bool as official_backfilled,
        quality = 'gap' as is_gap
    from unheard_minutes
    where bucket >= %(start)s and bucket < %(end)s
)

select
    instrument_id,
    bucket,
    max(open) as open,
    max(high) as high,
    max(low) as low,
    max(close) as close,
    max(volume) as volume,
    max(trades) as trades,
    max(official_open) as official_open,
    max(official_high) as official_high,
    max(official_low) as official_low,
    max(official_close) as official_close,
    max(official_volume) as official_volume,
    bool_or(official_backfilled) as official_backfilled,
    bool_or(is_gap) as is_gap,
    (
        tickline.is_before_open(bucket)
        or tickline.market_day(bucket) in (select day from tickline.special_sessions)
    ) and tickline.is_auction(instrument_id, bucket) as auction,
    (
        tickline.is_before_open(bucket - interval '1 minute')
        or tickline.market_day(bucket) in (select day from tickline.special_sessions)
    )
    and tickline.is_auction(instrument_id, bucket - interval '1 minute')
    and not tickline.is_auction(instrument_id, bucket) as at_open
from bars
where %(instrument_ids)s::int4[] is null or instrument_id = any(%(instrument_ids)s::int4[])
group by instrument_id, bucket
having max(close) is not null or max(official_close) is not null
