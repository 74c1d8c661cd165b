-- Minutes in which ticks were committed since their bars were made. The transaction that commits the ticks records
-- them, so that a process killed before its refresh leaves the work to the next one.
create table tickline.touched_minutes (
    minute timestamptz not null,
    last_ts timestamptz not null,
    touched_by xid8 not null default pg_current_xact_id(),
    constraint touched_minutes_pkey primary key (minute)
);

comment on table tickline.touched_minutes is 'minutes whose bars are to be made anew: ticks were committed in them';
comment on column tickline.touched_minutes.last_ts is 'the newest ts that was committed in it';
comment on column tickline.touched_minutes.touched_by is 'the last transaction that committed ticks in it';

-- Record the minutes of ticks, in the transaction that commits them. Ordered, so that two sessions take turns.
create function tickline.touch_minutes(times timestamptz[]) returns void
language sql volatile
begin atomic
insert into tickline.touched_minutes as touched (minute, last_ts)
select
    tickline.bucket_1m(ts) as minute,
    max(ts) as last_ts
from unnest(times) as ts
group by minute
order by minute
on conflict (minute) do update
set
    last_ts = greatest(touched.last_ts, excluded.last_ts),
    touched_by = excluded.touched_by;
end;
