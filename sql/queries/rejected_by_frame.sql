-- Rows that the database itself rejected, by frame. Parameters: collector, segment text. Columns: seq, ticks int8.
select
    seq,
    count(*) as ticks
from tickline.rejected_ticks
where
    collector = %(collector)s
    and segment = %(segment)s
    and sqlstate is not null
group by seq
