-- Note the minutes of ticks, in the transaction that commits them.
-- Parameters: last_ts timestamptz[], the newest of each minute. Sorted, so that two sessions take turns.
insert into tickline.touched_minutes as touched (minute, last_ts)
select
    tickline.bucket_1m(newest.last_ts) as minute,
    newest.last_ts
from unnest(%(last_ts)s::timestamptz[]) as newest (last_ts)
order by minute
on conflict (minute) do update
set
    last_ts = greatest(touched.last_ts, excluded.last_ts),
    touched_by = excluded.touched_by
