-- The daily bars of a month, with the exchange's own open, high, low and volume.
select bucket, open, high, low, close, volume, source, quality
from bars('RELIANCE', '1d', last_session() - interval '30 days')
order by bucket
