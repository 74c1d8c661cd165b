-- Five equal bars a day of a share, over the last two weeks.
select bucket, open, high, low, close, volume
from bars('RELIANCE', '75m', last_session() - interval '14 days')
order by bucket
