-- Correct the ledger for a frame that left the quarantine, in the transaction that writes its ticks.
-- Parameters: collector, segment text; end_offset int8; ticks, rejected int4; first_ts, last_ts timestamptz, null
-- without ticks. Columns: batch_id int8; no row: the ledger has no such batch.
update tickline.ledger
set
    ticks = ticks + %(ticks)s,
    rejected = rejected + %(rejected)s,
    quarantined = quarantined - 1,
    first_ts = least(first_ts, %(first_ts)s),
    last_ts = greatest(last_ts, %(last_ts)s)
where
    collector = %(collector)s
    and segment = %(segment)s
    and offset_start < %(end_offset)s
    and offset_end >= %(end_offset)s
returning batch_id
