-- Number of breaks of whole connections of a collector since midnight in India. Parameters: collector text.
-- Columns: gaps int8. Expect: one row, by the index on started_at.
select count(*) as gaps
from feed_gaps
where
    collector = %(collector)s
    and instrument_id is null
    and started_at >= date_trunc('day', now() at time zone 'Asia/Kolkata') at time zone 'Asia/Kolkata'
