-- Whether a batch is in the ledger, as the end of a row: a row of its own, or one that it extended.
-- Parameters: collector, segment, digest text; row_start, the row's offset_start, offset_end int8.
-- Columns: batch_id int8. Expect: one row or none.
select batch_id
from tickline.ledger
where
    collector = %(collector)s
    and segment = %(segment)s
    and offset_start = %(row_start)s
    and offset_end = %(offset_end)s
    and digest = %(digest)s
