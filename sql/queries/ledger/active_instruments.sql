-- Instruments that this database has ever had a tick of.
-- Columns: instrument_id int4. Expect: thousands of rows at most.
select instrument_id
from tickline.active_instruments
