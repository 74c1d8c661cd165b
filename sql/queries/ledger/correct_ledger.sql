-- Move ticks of a batch from committed to rejected, in the transaction that writes the batch.
-- Parameters: collector, segment text; row_start, offset_start of the ledger row that has the batch, int8; rejected int4.
update tickline.ledger
set
    ticks = ticks - %(rejected)s,
    rejected = rejected + %(rejected)s
where
    collector = %(collector)s
    and segment = %(segment)s
    and offset_start = %(row_start)s
