-- Implied volatility by strike, calls and puts, at half past two of the newest day.
select strike, call_iv, put_iv, call_delta, put_delta
from option_chain('NIFTY', last_session() + interval '14 hours 30 minutes')
order by strike
