-- Collectors as writers have noted them, by age of the note. Parameters: none.
-- Columns: collector, source text; account jsonb; keys jsonb (instrument key -> mode). Expect: one row per collector.
select
    collector,
    source,
    account,
    keys
from tickline.collectors
order by noted_at
