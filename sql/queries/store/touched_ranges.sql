-- Minutes whose bars must be rebuilt, adjacent ones as one range, oldest first.
-- No parameters. Columns: from_ts, to_ts timestamptz, half-open, to_ts after the newest tick; minutes timestamptz[] and
-- touched_by text[], for `forget_minutes`. Expect: a row or two while recording; after a replay of a year, all its
-- minutes.
with numbered as (
    select
        minute,
        last_ts,
        touched_by,
        minute - row_number() over (order by minute) * interval '1 minute' as run
    from tickline.touched_minutes
)

select
    min(minute) as from_ts,
    max(last_ts) + interval '1 microsecond' as to_ts,
    array_agg(minute) as minutes,
    array_agg(touched_by::text) as touched_by
from numbered
group by run
order by from_ts
