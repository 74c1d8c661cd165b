-- Time of the master in `master_rows`: when it is loaded, but not after its nearest expiry, since the list of an earlier
-- day may be loaded later. One contract in a thousand may have a wrong expiry and is ignored.
-- Parameters: loaded_at timestamptz (null: now). Columns: known_at timestamptz. Expect: one row.
select
    least(
        coalesce(%(loaded_at)s::timestamptz, now()),
        (percentile_disc(0.001) within group (order by expiry) + 1)::timestamp at time zone 'Asia/Kolkata'
        - interval '1 second'
    ) as known_at
from master_rows
