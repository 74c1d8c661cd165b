-- Keep a tick that made no row, with the reason.
-- Parameters: collector, segment text; end_offset, seq int8; instrument_id int4; tick jsonb; sqlstate, reason text.
insert into tickline.rejected_ticks (collector, segment, end_offset, seq, instrument_id, tick, sqlstate, reason)
values (
    %(collector)s, %(segment)s, %(end_offset)s, %(seq)s, %(instrument_id)s, %(tick)s, %(sqlstate)s, %(reason)s
)
