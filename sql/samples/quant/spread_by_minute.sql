-- How wide is the spread, minute by minute?
select
    date_bin('1 minute', ts, timestamptz '2000-01-01 00:00+00') as minute,
    avg(ask - bid) as spread,
    10000 * avg((ask - bid) / ((ask + bid) / 2)) as spread_bp,
    count(*) as updates
from ticks
where instrument_id = instrument('NIFTY FUT') and ts >= last_session() and bid > 0 and ask > 0
group by minute
order by minute
