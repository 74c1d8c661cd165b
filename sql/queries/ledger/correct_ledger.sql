-- Move rows of a batch from committed to rejected, in the transaction that writes the batch.
-- Parameters: collector, segment text; offset_start int8; rejected int4.
update tickline.ledger
set
    ticks = ticks - %(rejected)s,
    rejected = rejected + %(rejected)s
where
    collector = %(collector)s
    and segment = %(segment)s
    and offset_start = %(offset_start)s
