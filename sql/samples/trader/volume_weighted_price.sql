-- The average price of what was traded since the open, by volume.
select
    sum(ltp * volume) / nullif(sum(volume), 0) as vwap,
    sum(volume) as volume,
    count(*) as trades
from ticks
where instrument_id = instrument('RELIANCE') and ts >= last_session() and traded
