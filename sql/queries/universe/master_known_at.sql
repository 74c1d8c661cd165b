-- When the master in `master_rows` was in force: when it is loaded, but not after its nearest expiry, since a list of an
-- earlier day may be loaded later. Of a thousand contracts one may have an expiry that is wrong.
-- Parameters: loaded_at timestamptz (null: now). Columns: known_at timestamptz. Expect: one row.
select
    least(
        coalesce(%(loaded_at)s::timestamptz, now()),
        (percentile_disc(0.001) within group (order by expiry) + 1)::timestamp at time zone 'Asia/Kolkata'
        - interval '1 second'
    ) as known_at
from master_rows
