-- Newest state of a stream, and its position in the journal.
-- Parameters: collector text, stream text. Columns: segment text, end_offset int8, state bytea.
select
    segment,
    end_offset,
    state
from tickline.checkpoints
where
    collector = %(collector)s
    and stream = %(stream)s
