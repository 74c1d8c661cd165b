-- Rejected updates that cannot be told from their frame alone, by frame: those that the database itself rejected, and
-- those of keys that were held back. Parameters: collector, segment text. Columns: seq, updates int8.
select
    seq,
    sum(updates) as updates
from tickline.rejected_ticks
where
    collector = %(collector)s
    and segment = %(segment)s
    and (sqlstate is not null or held_back)
group by seq
