-- Ranges of committed records of a stream of a collector, each a MiB of its journal or less, in their order. Ticks do not
-- say whose they are: `other` names a collector whose ticks cannot be told from these, by number and time.
-- Parameters: collector, stream text; after, until int8 (seq; after is not included); pages_max int4.
-- Columns: last_seq int8; first_ts, last_ts timestamptz, null without ticks; other text, null: no such collector.
-- Expect: the ledger rows of the range; the ledger is read once.
-- Example: collector => 'default', stream => '1', after => 1000, until => 5000, pages_max => 300
with pages as materialized (
    select
        first_seq,
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
),

batches_of_others as materialized (
    select
        collector,
        first_seq,
        last_seq,
        first_ts,
        last_ts
    from tickline.ledger
    where
        collector <> %(collector)s
        and last_seq > %(after)s
        and first_seq <= %(until)s
        and first_ts <= (select max(pages.last_ts) from pages)
        and last_ts >= (select min(pages.first_ts) from pages)
)

select
    last_seq,
    first_ts,
    last_ts,
    (
        select min(one.collector)
        from batches_of_others as one
        where
            one.first_seq <= pages.last_seq
            and one.last_seq >= pages.first_seq
            and one.first_ts <= pages.last_ts
            and one.last_ts >= pages.first_ts
    ) as other
from pages
order by last_seq
