-- Which instruments moved most in the last 15 minutes?
select trading_symbol, open, close, change_pct, volume
from top_movers(15)
