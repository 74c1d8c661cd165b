-- Keep a tick that made no row, with the reason; of several of a frame for one reason the first.
-- Parameters: collector, segment text; end_offset, seq int8; instrument_id int4; tick jsonb; sqlstate, reason text; updates int4;
-- held_back bool: its key is one of too many that no list has, which its frame alone does not tell.
insert into tickline.rejected_ticks (collector, segment, end_offset, seq, instrument_id, tick, sqlstate, reason, updates, held_back)
values (
    %(collector)s, %(segment)s, %(end_offset)s, %(seq)s, %(instrument_id)s, %(tick)s, %(sqlstate)s, %(reason)s, %(updates)s, %(held_back)s
)
