-- The exchange's own figures of a day, kept for the days whose ticks are dropped; until then ticks have them.
create table public.official_days (
    instrument_id integer not null,
    day date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    volume bigint,
    constraint official_days_pkey primary key (instrument_id, day)
);

comment on table public.official_days is 'what the feed said of whole days, for days whose ticks are dropped';
comment on column public.official_days.instrument_id is 'of instruments';
comment on column public.official_days.day is 'day of the market, India';
comment on column public.official_days.open is 'first price of the day, rupees';
comment on column public.official_days.high is 'highest price of the day, rupees';
comment on column public.official_days.low is 'lowest price of the day, rupees';
comment on column public.official_days.volume is 'units traded; null: not known';

-- Local midnight at which a day of the market begins.
create function tickline.day_begin(day date) returns timestamptz
language sql immutable strict parallel safe
return day::timestamp at time zone interval '05:30';

-- The exchange's figures of a day of one instrument, as its last trade reported them; no row if the feed did not say.
create function tickline.official_day(id integer, of_day date) returns setof public.official_days
language sql stable parallel safe rows 1
begin atomic
(
    select
        ticks.instrument_id,
        of_day as day,
        ticks.day_open as open,
        ticks.day_high as high,
        ticks.day_low as low,
        ticks.vtt as volume
    from public.ticks
    where
        ticks.instrument_id = id
        and ticks.ts >= tickline.day_begin(of_day)
        and ticks.ts < tickline.day_begin(of_day + 1)
        and ticks.traded
        and ticks.day_open is not null
        and ticks.day_high is not null
        and ticks.day_low is not null
    order by ticks.ts desc, ticks.seq desc
    limit 1
)
union all
select
    kept.instrument_id,
    kept.day,
    kept.open,
    kept.high,
    kept.low,
    kept.volume
from public.official_days as kept
where kept.instrument_id = id and kept.day = of_day
limit 1;
end;

-- Keep the figures of a day, before its ticks are dropped.
create procedure tickline.keep_official_days(of_day date)
language sql
begin atomic
insert into public.official_days (instrument_id, day, open, high, low, volume)
select found.instrument_id, found.day, found.open, found.high, found.low, found.volume
from tickline.active_instruments as active
cross join lateral tickline.official_day(active.instrument_id, of_day) as found
on conflict (instrument_id, day) do nothing;
end;
