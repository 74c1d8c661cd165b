-- Frames that should be in quarantine and are only counted, because the limit of a day was reached.
-- No parameters. Columns: frames int8. Expect: one row.
select coalesce(sum(left_out), 0)::int8 as frames
from tickline.side_rows
where relation = 'quarantined_frames'
