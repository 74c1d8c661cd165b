-- Ranges of committed records of a stream of a collector, each a MiB of its journal or less, in their order.
-- Parameters: collector, stream text; after, until int8 (seq; after is not included); pages_max int4.
-- Columns: last_seq int8; first_ts, last_ts timestamptz, null without ticks. Expect: the ledger rows of the range.
-- Example: collector => 'default', stream => '1', after => 1000, until => 5000, pages_max => 300
select
    last_seq,
    first_ts,
    last_ts
from tickline.ledger
where
    collector = %(collector)s
    and starts_with(segment, %(stream)s || '/')
    and last_seq > %(after)s
    and first_seq <= %(until)s
order by last_seq
limit %(pages_max)s
