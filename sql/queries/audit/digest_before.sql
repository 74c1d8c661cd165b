-- The checksum that a segment's records continue: that of the stream's ledger row before the segment's first.
-- Parameters: collector, stream, segment text (with the stream). Columns: digest text, null: the row has none.
-- Expect: one row; none: the segment is the first of its stream, or is not in the ledger.
select before.digest
from tickline.ledger as before
where
    before.collector = %(collector)s
    and starts_with(before.segment, %(stream)s || '/')
    and before.batch_id < (
        select min(ledger.batch_id)
        from tickline.ledger
        where ledger.collector = %(collector)s and ledger.segment = %(segment)s
    )
order by before.batch_id desc
limit 1
