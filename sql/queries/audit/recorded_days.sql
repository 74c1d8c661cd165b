-- Market days with ticks in the ledger, and the number of collectors of each. Expect: a scan of the ledger.
-- Columns: day date (market-local), collectors int8.
select
    day,
    count(distinct collector) as collectors
from tickline.ledger
cross join lateral (
    values ((first_ts at time zone 'Asia/Kolkata')::date), ((last_ts at time zone 'Asia/Kolkata')::date)
) as days (day)
where day is not null
group by day
order by day
