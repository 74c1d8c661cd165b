-- Newest minute with bars from ticks, and counts that show whether it still grows.
-- Expect: one row, null without bars. Parameters: since timestamptz, where the search begins.
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
