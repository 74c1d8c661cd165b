-- Whether exactly this batch is in the ledger. Parameters: collector, segment, digest text;
-- offset_start, offset_end int8. Columns: batch_id int8. Expect: one row or none.
select batch_id
from tickline.ledger
where
    collector = %(collector)s
    and segment = %(segment)s
    and offset_start = %(offset_start)s
    and offset_end = %(offset_end)s
    and digest = %(digest)s
