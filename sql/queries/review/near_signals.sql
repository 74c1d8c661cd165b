-- Minutes of the signals of one instrument near a minute, nearest first. Expect: a few rows.
-- Parameters: instrument_id int4; bucket timestamptz; within interval; most int4, how many rows at most.
-- Columns: bucket timestamptz.
select bucket
from signals
where instrument_id = %(instrument_id)s and bucket between %(bucket)s - %(within)s and %(bucket)s + %(within)s
group by bucket
order by
    abs(extract(epoch from bucket - %(bucket)s)),
    bucket
limit %(most)s
