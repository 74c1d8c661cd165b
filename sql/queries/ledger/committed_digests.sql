-- End of each committed batch of a stream, and the running checksum there.
-- Parameters: collector text, stream text. Columns: offset_end int8, digest text.
select
    offset_end,
    digest
from tickline.ledger
where
    collector = %(collector)s
    and starts_with(segment, %(stream)s || '/')
order by batch_id
