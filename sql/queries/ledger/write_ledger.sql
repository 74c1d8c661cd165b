-- Write the ledger row of a batch that extends no row, in the transaction that copies its ticks.
-- Parameters: collector, segment text; offset_start, offset_end int8 (bytes); first_seq, last_seq int8;
-- frames, ticks, rejected, quarantined, duplicates int4; first_ts, last_ts timestamptz; digest text.
-- Rows: one inserted; none if an earlier row reaches beyond the start of the batch. A row with the same start violates
-- `ledger_segment_offset_key`, also while the transaction that writes it runs.
insert into tickline.ledger (
    collector, segment, offset_start, offset_end, first_seq, last_seq,
    frames, ticks, rejected, quarantined, duplicates, first_ts, last_ts, digest
)
select
    %(collector)s,
    %(segment)s,
    %(offset_start)s,
    %(offset_end)s,
    %(first_seq)s,
    %(last_seq)s,
    %(frames)s,
    %(ticks)s,
    %(rejected)s,
    %(quarantined)s,
    %(duplicates)s,
    %(first_ts)s,
    %(last_ts)s,
    %(digest)s
where
    coalesce(
        (
            select before.offset_end <= %(offset_start)s
            from tickline.ledger as before
            where
                before.collector = %(collector)s
                and before.segment = %(segment)s
                and before.offset_start < %(offset_start)s
            order by before.offset_start desc
            limit 1
        ),
        true
    )
