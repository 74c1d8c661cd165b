-- Committed batches of a journal segment, in the order of the journal.
-- Parameters: collector text, segment text. Columns: batch_id, offset_start, offset_end int8; frames, ticks,
-- rejected, quarantined, duplicates, unlisted_updates, unlisted_frames int4; first_ts, last_ts timestamptz; digest text.
select
    batch_id,
    offset_start,
    offset_end,
    frames,
    ticks,
    rejected,
    quarantined,
    duplicates,
    coalesce(unlisted_updates, 0) as unlisted_updates,
    coalesce(unlisted_frames, 0) as unlisted_frames,
    first_ts,
    last_ts,
    digest
from tickline.ledger
where
    collector = %(collector)s
    and segment = %(segment)s
order by offset_start
