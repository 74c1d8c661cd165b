-- The option chain of the nearest expiry, as it is now.
select strike, call_oi, call_volume, call_iv, call_ltp, put_ltp, put_iv, put_volume, put_oi
from option_chain('NIFTY')
order by strike
