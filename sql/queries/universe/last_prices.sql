-- Last traded prices of instruments that do not expire. By the index of each.
-- Parameters: instrument_keys text[]. Columns: instrument_key text, ltp float8 (rupees).
-- Expect: at most one row per key; none for an instrument that has never ticked.
select
    instrument.instrument_key,
    last_tick.ltp
from instruments as instrument
inner join latest_ticks as last_tick using (instrument_id)
where
    instrument.instrument_key = any(%(instrument_keys)s)
    and instrument.expiry is null
    and last_tick.ltp > 0
