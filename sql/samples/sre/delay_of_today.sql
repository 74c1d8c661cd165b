-- How long after their exchange time were ticks received, and how many came, hour by hour?
select
    date_trunc('hour', ts at time zone 'Asia/Kolkata') as hour_in_india,
    percentile_cont(array[0.5, 0.99]) within group (order by received_at - ts) as delay_p50_p99,
    count(*) as ticks
from ticks
where instrument_id = instrument('NIFTY FUT') and ts >= last_session() and traded
group by hour_in_india
order by hour_in_india
