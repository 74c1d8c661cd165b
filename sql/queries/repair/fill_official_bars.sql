-- Store official bars from REST where there is none yet; existing bars stay, whatever their source.
-- Parameters: instrument_id int4; source text (ohlc, intraday, historical); arrays of one length: buckets
-- timestamptz[]; open, high, low, close float8[] (rupees); volumes int8[] (units; null: an index); ois int8[].
-- Columns: added, differing int8: number of new bars, and of existing bars with other values.
with bars as (
    select
        bucket,
        open,
        high,
        low,
        close,
        volume,
        oi
    from
        unnest(
            %(buckets)s::timestamptz[], %(open)s::float8[], %(high)s::float8[], %(low)s::float8[],
            %(close)s::float8[], %(volumes)s::int8[], %(ois)s::int8[]
        ) as candles (bucket, open, high, low, close, volume, oi)
),

added as (
    insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, oi, source)
    select
        %(instrument_id)s,
        bucket,
        open,
        high,
        low,
        close,
        volume,
        oi,
        %(source)s
    from bars
    on conflict (instrument_id, bucket) do nothing
    returning bucket
),

differing as (
    select bars.bucket
    from bars
    inner join official_bars_1m as official
        on official.instrument_id = %(instrument_id)s and official.bucket = bars.bucket
    where (official.open, official.high, official.low, official.close, official.volume)
        is distinct from (bars.open, bars.high, bars.low, bars.close, bars.volume)
)

select
    (select count(*) from added) as added,
    (select count(*) from differing) as differing
