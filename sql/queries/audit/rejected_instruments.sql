-- Instruments with a row that the database rejected: its volume is in no bar. Columns: instrument_id int4.
select distinct instrument_id
from tickline.rejected_ticks
where sqlstate is not null and instrument_id is not null
