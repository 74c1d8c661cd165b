-- What is the last price, and how old is it?
select ltp, bid, ask, vtt as volume_of_day, ts, now() - ts as age
from latest_ticks
where instrument_id = instrument('RELIANCE')
