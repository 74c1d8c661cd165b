-- Opens of sessions, only here. Usual hours are below; an unusual open, such as Muhurat or a session on a Saturday, is
-- a row of this table, from the vendor's calendar or the feed's `market_info`.
create table tickline.special_sessions (
    day date not null,
    segment text not null,
    opens_at timestamptz not null,
    constraint special_sessions_pkey primary key (day, segment)
);

-- Views read it with the rights of the reader.
grant select on tickline.special_sessions to public;

comment on table tickline.special_sessions is 'sessions that open at another time than the usual';
comment on column tickline.special_sessions.day is 'day of the market, India';
comment on column tickline.special_sessions.segment is 'first part of an instrument key';
comment on column tickline.special_sessions.opens_at is 'start of continuous trading; orders for the open are matched in the 15 minutes before it';

-- Market day of a time. India has one zone and no summer time; its name would take three times as long.
create function tickline.market_day(at timestamptz) returns date
language sql immutable strict parallel safe
return (at at time zone interval '05:30')::date;

-- Start of continuous trading of a segment on a day: currencies and commodities at 09:00, all others at 09:15.
create function tickline.session_open(segment text, day date) returns timestamptz
language sql stable parallel safe
return coalesce(
    (
        select special.opens_at
        from tickline.special_sessions as special
        where special.segment = session_open.segment and special.day = session_open.day
    ),
    (
        day + case
            when segment in ('NCD_FO', 'BCD_FO', 'MCX_FO', 'MCX_INDEX', 'NSE_COM') then time '09:00'
            else time '09:15'
        end
    ) at time zone 'Asia/Kolkata'
);

-- Whether a minute belongs to the opening auction: the quarter of an hour before the open, in which shares and their
-- derivatives match orders, and in a special session all segments; currencies and commodities open at 09:00 without
-- one. The auction has its own bars, so that its volume can be counted or left out. It reads two tables: check first
-- whether the minute is `tickline.is_before_open`, or on a day with a special session.
create function tickline.is_auction(id integer, bucket timestamptz) returns boolean
language sql stable strict parallel safe
return (
    select
        bucket >= opens_at - interval '15 minutes'
        and bucket < opens_at
        and (opens_at at time zone 'Asia/Kolkata')::time <> '09:00'
    from tickline.session_open(
        (select segment from public.instruments where instrument_id = id), tickline.market_day(bucket)
    ) as opens_at
);

-- Whether a minute can belong to an opening auction on a usual day: in the first quarter of an hour from 09:00 on.
-- Evaluated for each bar that is read: the planner inlines it, which it would not do with the sum of a time and an
-- interval.
create or replace function tickline.is_before_open(bucket timestamptz) returns boolean
language sql immutable strict parallel safe
return date_bin('15 minutes', bucket, timestamptz '2000-01-01 09:00:00+05:30')
    = date_bin('1 day', bucket, timestamptz '2000-01-01 09:00:00+05:30');

drop function tickline.opens_early(integer);
