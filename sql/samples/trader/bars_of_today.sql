-- What did the future do today, in bars of 15 minutes from the open on?
select bucket, open, high, low, close, volume, oi, quality
from bars('NIFTY FUT', '15m', last_session())
order by bucket
