-- Minutes of the signals, or of the labels, of one instrument near a minute, nearest first. Expect: a few rows.
-- Parameters: of text, 'signals' or 'labels'; instrument_id int4; bucket timestamptz; within interval; most int4, how
-- many rows at most. Columns: bucket timestamptz.
select bucket
from (
    select distinct bucket
    from signals
    where %(of)s = 'signals' and instrument_id = %(instrument_id)s
    union all
    select bucket
    from labels
    where %(of)s = 'labels' and instrument_id = %(instrument_id)s
) as minutes
where bucket between %(bucket)s - %(within)s and %(bucket)s + %(within)s
order by
    abs(extract(epoch from bucket - %(bucket)s)),
    bucket
limit %(most)s
