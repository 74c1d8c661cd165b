-- Event time of the newest ledger row, whoever wrote it. Parameters: none. Columns: last_ts timestamptz.
-- Expect: one row, or none for an empty ledger; null if the row has no tick.
select last_ts
from tickline.ledger
order by batch_id desc
limit 1
