-- Realised volatility of each day of the last two weeks, from returns of five minutes, a year of 252 days.
select
    (bucket at time zone 'Asia/Kolkata')::date as day,
    sqrt(252 * sum(change * change)) as volatility,
    count(change) as returns
from (
    select
        bucket,
        ln(close / lag(close) over (partition by (bucket at time zone 'Asia/Kolkata')::date order by bucket)) as change
    from bars('RELIANCE', '5m', last_session() - interval '14 days')
    where close > 0
) as changes
group by day
order by day
