-- The ledger's batches that overlap a range of records. Parameters: collector, stream text; first_seq, last_seq int8.
-- Columns: batches, first_seq, last_seq int8 (of them that are in the range); first_ts, last_ts timestamptz.
-- Expect: one row.
select
    count(*) as batches,
    greatest(min(first_seq), %(first_seq)s) as first_seq,
    least(max(last_seq), %(last_seq)s) as last_seq,
    min(first_ts) as first_ts,
    max(last_ts) as last_ts
from tickline.ledger
where
    collector = %(collector)s
    and starts_with(segment, %(stream)s || '/')
    and first_seq <= %(last_seq)s
    and last_seq >= %(first_seq)s
