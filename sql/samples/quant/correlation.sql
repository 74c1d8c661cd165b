-- How closely did a share follow the future today, minute by minute?
with changes as (
    select
        share.bucket,
        ln(share.close / lag(share.close) over (order by share.bucket)) as of_share,
        ln(future.close / lag(future.close) over (order by share.bucket)) as of_future
    from bars('RELIANCE', '1m', last_session()) as share
    inner join bars('NIFTY FUT', '1m', last_session()) as future using (bucket)
    where share.close > 0 and future.close > 0
)

select
    corr(of_share, of_future) as correlation,
    regr_slope(of_share, of_future) as beta,
    count(*) as minutes
from changes
