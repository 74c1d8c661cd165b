-- The newest minute that has bars of ticks, and how much we heard in it, to see whether it still grows.
-- Expect: one row, null without bars. Parameters: since timestamptz, where to begin to look.
-- Columns: bucket, ticks, bars.
select
    bucket,
    sum(ticks)::bigint as ticks,
    count(*) as bars
from bars_1m
where bucket >= %(since)s
group by bucket
order by bucket desc
limit 1
