-- A page of bars of instruments, by time. Parameters: instrument_keys text[]; interval text ('1m' to '1mo'); start, end
-- timestamptz, half-open, of the bucket; source text (best, ticks, official); skip, rows_max int4.
-- Columns: instrument_key, symbol text; bucket timestamptz; open, high, low, close float8 (rupees); volume, oi, ticks
-- int8; source, quality text. Expect: at most rows_max rows, by the index of instrument and bucket.
-- Example: instrument_keys => '{NSE_FO|53001}', interval => '15m', start => '2025-12-15', end => '2025-12-16',
-- source => 'best', skip => 0, rows_max => 100
with asked as (
    select array(
        select instrument_id from instruments where instrument_key = any(%(instrument_keys)s::text[])
    ) as instrument_ids
)

select
    instruments.instrument_key,
    instruments.trading_symbol as symbol,
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
cross join lateral bars(asked.instrument_ids, %(interval)s, %(start)s, %(end)s, %(source)s) as bar
inner join instruments on bar.instrument_id = instruments.instrument_id
order by
    bar.bucket,
    instruments.instrument_key,
    instruments.instrument_id
offset %(skip)s
limit %(rows_max)s
