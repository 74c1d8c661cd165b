-- Instruments with at least one tick in this database.
-- Columns: instrument_id int4. Expect: thousands of rows at most.
select instrument_id
from tickline.active_instruments
