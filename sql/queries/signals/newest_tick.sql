-- Time of the newest tick. Expect: one row; one index look-up for each instrument.
-- Columns: ts, null before the first tick.
select max(ts) as ts
from latest_ticks
