-- Number of rejected updates in a range that have no row in rejected_ticks, because the limit of a day was reached.
-- Parameters: start, end timestamptz, half-open. Columns: updates int8. Expect: one row; a scan of the ledger.
select coalesce(sum(unlisted_updates), 0)::int8 as updates
from tickline.ledger
where first_ts < %(end)s and last_ts >= %(start)s
