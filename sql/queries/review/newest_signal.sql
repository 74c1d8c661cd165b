-- Minute of the newest signal. Expect: one row, null without signals. By the index on bucket.
-- Parameters: rule_set text, null: any. Columns: bucket timestamptz.
select max(bucket) as bucket
from signals
where %(rule_set)s::text is null or rule_set = %(rule_set)s
