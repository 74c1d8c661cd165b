-- Instruments for the comparison. Columns: instrument_id int4, instrument_key text, tick_size float8 (rupees).
select
    instrument_id,
    instrument_key,
    tick_size
from instruments
where instrument_id in (select instrument_id from official_bars_1m where bucket >= %(start)s and bucket < %(end)s)
    or instrument_id in (select instrument_id from bars_1m where bucket >= %(start)s and bucket < %(end)s)
