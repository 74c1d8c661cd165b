-- Sessions that open at an unusual time. Expect: one row per segment for one day in a year or two.
-- Parameters: start, end timestamptz, half-open, of the open ('-infinity', 'infinity').
-- Columns: segment text, day date (market-local), opens_at timestamptz.
select
    segment,
    day,
    opens_at
from tickline.special_sessions
where opens_at >= %(start)s and opens_at < %(end)s
order by day, segment
