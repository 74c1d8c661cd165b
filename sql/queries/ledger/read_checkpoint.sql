-- The newest state of a stream's normaliser, and the place in the journal that it stands for.
-- Parameters: collector text, stream text. Columns: segment text, end_offset int8, state bytea.
select
    segment,
    end_offset,
    state
from tickline.checkpoints
where
    collector = %(collector)s
    and stream = %(stream)s
