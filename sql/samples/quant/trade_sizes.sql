-- How large are the trades, in powers of two?
select
    2 ^ floor(log(2, volume::numeric)) as at_least,
    count(*) as trades,
    sum(volume) as volume
from ticks
where instrument_id = instrument('RELIANCE') and ts >= last_session() and volume > 0
group by at_least
order by at_least
