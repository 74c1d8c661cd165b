-- End of a stream's committed batches. Segments of a stream are named 'stream/segment'.
-- Parameters: collector text, stream text. Columns: segment text, offset_end int8, digest text, last_seq int8.
-- Expect: one row, or none for a new stream. Example: collector = 'default', stream = '1'
select
    substr(segment, length(%(stream)s) + 2) as segment,
    offset_end,
    digest,
    last_seq
from tickline.ledger
where
    collector = %(collector)s
    and starts_with(segment, %(stream)s || '/')
order by batch_id desc
limit 1
