-- Extend a ledger row by the batch that continues it, in the transaction that copies the batch's ticks.
-- Parameters: collector, segment text; row_start, the row's offset_start, offset_start, offset_end int8 (bytes);
-- last_seq int8; frames, ticks, rejected, quarantined, duplicates int4; first_ts, last_ts timestamptz; digest text.
-- Rows: one updated; none if the row does not end where the batch starts, as when the batch is in it already.
-- No indexed column changes, so that the new version stays on its page and no index grows.
update tickline.ledger
set
    offset_end = %(offset_end)s,
    last_seq = %(last_seq)s,
    frames = frames + %(frames)s,
    ticks = ticks + %(ticks)s,
    rejected = rejected + %(rejected)s,
    quarantined = quarantined + %(quarantined)s,
    duplicates = duplicates + %(duplicates)s,
    batches = batches + 1,
    first_ts = least(first_ts, %(first_ts)s),
    last_ts = greatest(last_ts, %(last_ts)s),
    digest = %(digest)s,
    written_at = now()
where
    collector = %(collector)s
    and segment = %(segment)s
    and offset_start = %(row_start)s
    and offset_end = %(offset_start)s
