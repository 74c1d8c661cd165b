-- Frames in quarantine, oldest first. Parameters: limit int8; null is all.
-- Columns: collector, segment text; end_offset, seq int8; received_at timestamptz; bytes int4; reason text; total int8
-- (frames in quarantine, whatever the limit).
select
    collector,
    segment,
    end_offset,
    seq,
    received_at,
    octet_length(payload) as bytes,
    reason,
    count(*) over () as total
from tickline.quarantined_frames
order by received_at, collector, segment, end_offset
limit %(limit)s
