-- When an instrument master was loaded last, from any source. Parameters: none. Columns: loaded_at timestamptz.
-- Expect: one row; null if none ever was.
select max(loaded_at) as loaded_at
from tickline.master_loads
