-- Replace a stream's checkpoint. Runs in the transaction of the batch that ends there.
-- Parameters: collector, stream, segment text, end_offset int8 (bytes), state bytea.
insert into tickline.checkpoints (collector, stream, segment, end_offset, state)
values (%(collector)s, %(stream)s, %(segment)s, %(end_offset)s, %(state)s)
on conflict (collector, stream) do update
set
    segment = excluded.segment,
    end_offset = excluded.end_offset,
    state = excluded.state,
    written_at = now()
