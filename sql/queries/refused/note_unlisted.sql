-- Count what a batch found and what side tables did not keep, in the transaction that writes the batch.
-- Parameters: collector, segment text; row_start, offset_start of the ledger row that has the batch, int8;
-- updates, frames int4.
update tickline.ledger
set
    unlisted_updates = nullif(coalesce(unlisted_updates, 0) + %(updates)s, 0),
    unlisted_frames = nullif(coalesce(unlisted_frames, 0) + %(frames)s, 0)
where
    collector = %(collector)s
    and segment = %(segment)s
    and offset_start = %(row_start)s
