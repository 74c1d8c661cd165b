-- Where a stream's committed batches end. Segments of a stream are named 'stream/segment'.
-- Parameters: collector text, stream text. Columns: segment text, offset_end int8, digest text.
-- Expect: one row, or none for a new stream. Example: collector = 'default', stream = '1'
select
    substr(segment, length(%(stream)s) + 2) as segment,
    offset_end,
    digest
from tickline.ledger
where
    collector = %(collector)s
    and starts_with(segment, %(stream)s || '/')
order by batch_id desc
limit 1
