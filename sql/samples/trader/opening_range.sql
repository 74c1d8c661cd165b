-- When did the price first leave the range of its first 15 minutes?
with minutes as (
    select * from bars('RELIANCE', '1m', last_session())
),

opening as (
    select
        max(high) as high,
        min(low) as low,
        min(bucket) + interval '15 minutes' as until
    from minutes
    where bucket < (select min(bucket) + interval '15 minutes' from minutes)
)

select
    minutes.bucket,
    minutes.close,
    opening.high,
    opening.low,
    case when minutes.close > opening.high then 'up' else 'down' end as direction
from minutes
cross join opening
where minutes.bucket >= opening.until and (minutes.close > opening.high or minutes.close < opening.low)
order by minutes.bucket
limit 1
