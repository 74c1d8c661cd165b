-- The best bars of one instrument from a time on.
-- Expect: at most a few thousand rows, by the indexes of bars.
-- Parameters: instrument_id int4; "interval" text, as 15m; since timestamptz; until timestamptz.
-- Columns: bucket, open, high, low, close (rupees), volume (units), source, quality.
select
    bucket,
    open,
    high,
    low,
    close,
    volume,
    source,
    quality
from bars(%(instrument_id)s::integer, %(interval)s, %(since)s::timestamptz, %(until)s::timestamptz, 'best')
order by bucket
