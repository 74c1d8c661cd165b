-- Names of the rule sets that have found signals. Expect: a few rows. Columns: rule_set text.
select distinct rule_set
from signals
order by rule_set
