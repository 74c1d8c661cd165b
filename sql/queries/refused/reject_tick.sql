-- Keep an update that was not stored, with the reason; of several in a frame with one reason, keep the first.
-- Parameters: collector, segment text; end_offset, seq int8; instrument_id int4; tick jsonb; sqlstate, reason text; updates int4;
-- held_back bool: its key was beyond the daily limit of unknown keys, which the frame alone does not show.
insert into tickline.rejected_ticks (collector, segment, end_offset, seq, instrument_id, tick, sqlstate, reason, updates, held_back)
values (
    %(collector)s, %(segment)s, %(end_offset)s, %(seq)s, %(instrument_id)s, %(tick)s, %(sqlstate)s, %(reason)s, %(updates)s, %(held_back)s
)
