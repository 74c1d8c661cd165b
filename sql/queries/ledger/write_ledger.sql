-- Write the ledger row of a batch, in the transaction that copies its ticks.
-- Parameters: collector, segment text; offset_start, offset_end int8 (bytes); first_seq, last_seq int8;
-- frames, ticks, rejected, quarantined, duplicates int4; first_ts, last_ts timestamptz; digest text.
insert into tickline.ledger (
    collector, segment, offset_start, offset_end, first_seq, last_seq,
    frames, ticks, rejected, quarantined, duplicates, first_ts, last_ts, digest
)
values (
    %(collector)s, %(segment)s, %(offset_start)s, %(offset_end)s, %(first_seq)s, %(last_seq)s,
    %(frames)s, %(ticks)s, %(rejected)s, %(quarantined)s, %(duplicates)s, %(first_ts)s, %(last_ts)s, %(digest)s
)
