-- When the market last moved. Expect: one row; a look into an index for each instrument.
-- Columns: ts, null before the first tick.
select max(ts) as ts
from latest_ticks
