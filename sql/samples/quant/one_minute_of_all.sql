-- All instruments in one minute, for a ranking.
select instrument_id, close, volume, source, quality
from best_bars_1m
where bucket = last_session() + interval '10 hours'
