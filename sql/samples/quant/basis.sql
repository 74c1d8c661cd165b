-- The future over its index, in bars of 15 minutes.
select
    future.bucket,
    future.close - spot.close as basis,
    10000 * (future.close / spot.close - 1) as basis_bp,
    future.oi
from bars('NIFTY FUT', '15m', last_session()) as future
inner join bars('NIFTY', '15m', last_session()) as spot using (bucket)
order by future.bucket
