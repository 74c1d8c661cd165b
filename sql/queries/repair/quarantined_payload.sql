-- A frame in quarantine, and the quote of its batch that arrived nearest to it, which shows the feed's time.
-- Parameters: collector, segment text; end_offset int8.
-- Columns: payload bytea; received_at timestamptz; near_ts, near_received_at timestamptz, null if there is none.
-- Expect: one row, or none if it was replayed meanwhile.
select
    frame.payload,
    frame.received_at,
    near.ts as near_ts,
    near.received_at as near_received_at
from tickline.quarantined_frames as frame
left join tickline.ledger as batch
    on
        batch.collector = frame.collector
        and batch.segment = frame.segment
        and batch.offset_start < frame.end_offset
        and batch.offset_end >= frame.end_offset
left join lateral (
    select
        ticks.ts,
        ticks.received_at
    from ticks
    where
        ticks.ts between batch.first_ts and batch.last_ts
        and ticks.seq between batch.first_seq and batch.last_seq
        and not ticks.traded
    order by abs(ticks.seq - frame.seq)
    limit 1
) as near on true
where
    frame.collector = %(collector)s
    and frame.segment = %(segment)s
    and frame.end_offset = %(end_offset)s
