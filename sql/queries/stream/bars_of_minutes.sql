-- The best bars of minutes, by time. Parameters: instrument_keys text[], null: all instruments; start, end timestamptz,
-- half-open, of the bucket; rows_max int4.
-- Columns: instrument_key, trading_symbol text; bucket timestamptz; open, high, low, close float8 (rupees); volume, oi,
-- ticks int8; source, quality text. Expect: a bar for each instrument and minute, by the index of instrument and bucket.
-- Example: instrument_keys => '{NSE_FO|53001}', start => '2025-12-15 05:00+00', end => '2025-12-15 05:05+00'
with asked as (
    select
        case
            when %(instrument_keys)s::text[] is not null
                then array(
                    select instrument_id from instruments where instrument_key = any(%(instrument_keys)s::text[])
                )
        end as instrument_ids
)

select
    instruments.instrument_key,
    instruments.trading_symbol,
    bar.bucket,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.oi,
    bar.ticks,
    bar.source,
    bar.quality
from asked
cross join lateral bars(asked.instrument_ids, '1m', %(start)s, %(end)s) as bar
inner join instruments on bar.instrument_id = instruments.instrument_id
order by
    bar.bucket,
    instruments.instrument_key
limit %(rows_max)s
