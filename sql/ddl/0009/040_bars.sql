-- Bars of any interval that begins at the open of the session, as the command line and Polars give them.

-- Usual start of continuous trading of a segment after local midnight.
create function tickline.usual_open(segment text) returns interval
language sql immutable parallel safe
return case
    when segment in ('NCD_FO', 'BCD_FO', 'MCX_FO', 'MCX_INDEX', 'NSE_COM') then interval '09:00'
    else interval '09:15'
end;

create or replace function tickline.session_open(segment text, day date) returns timestamptz
language sql stable parallel safe
return coalesce(
    (
        select special.opens_at
        from tickline.special_sessions as special
        where special.segment = session_open.segment and special.day = session_open.day
    ),
    tickline.day_begin(day) + tickline.usual_open(segment)
);

-- Width of an interval in minutes: '75m', '1h', '1d'; 10080 for '1w' and 44640 for '1mo', of 31 days at most.
create function tickline.interval_minutes("interval" text) returns integer
language plpgsql immutable strict parallel safe
as $$
declare
    parts constant text[] := regexp_match(lower(btrim("interval")), '^(\d{1,6})(mo|m|h|d|w)$');
    amount constant integer := parts[1];
    width constant integer := amount * case parts[2] when 'h' then 60 when 'd' then 1440 else 1 end;
begin
    if parts[2] in ('w', 'mo') and amount = 1 then
        return case parts[2] when 'w' then 7 * 1440 else 31 * 1440 end;
    end if;
    if parts[2] in ('m', 'h', 'd') and width between 1 and 1440 then
        return width;
    end if;
    raise exception 'interval ''%'' is not a multiple of a minute up to a day, a week or a month: write it as ''1m'', ''15m'', ''75m'', ''1d'', ''1w'' or ''1mo''',
        "interval" using errcode = 'invalid_parameter_value';
end
$$;

-- Minutes of instruments in a range, as `tickline.minutes` has them (source best), or only of our bars or the
-- vendor's; ids null: of all. A join on keys with the conditions on each side; the view groups a union instead, because no
-- other form passes on a condition on a range. `public.bars` plans it for its values.
create function tickline.minutes_of(ids integer[], first timestamptz, last timestamptz, wanted text)
returns setof tickline.minutes
language sql stable parallel safe
begin atomic
select
    instrument_id,
    bucket,
    coalesce(official.open, own.open) as open,
    coalesce(official.high, own.high) as high,
    coalesce(official.low, own.low) as low,
    coalesce(official.close, own.close) as close,
    coalesce(official.volume, own.volume) as volume,
    coalesce(official.oi, own.oi) as oi,
    coalesce(own.ticks, 0) as ticks,
    coalesce(own.trades, 0) as trades,
    case when official.source = 'I1' then 'official' when official.source is not null then 'backfill' else 'ticks' end
        as source,
    case
        when unheard.quality is not null then unheard.quality
        when
            (
                tickline.is_before_open(bucket)
                or tickline.market_day(bucket) in (select special.day from tickline.special_sessions as special)
            )
            and tickline.is_auction(instrument_id, bucket)
            then 'auction'
        when official.source is null and own.trades < 2 then 'thin'
        else 'complete'
    end as quality,
    own.iv,
    own.delta,
    own.gamma
from (
    select * from public.bars_1m
    where (ids is null or instrument_id = any(ids)) and bucket >= first and bucket < last and wanted <> 'official'
) as own
full join (
    select * from public.official_bars_1m
    where (ids is null or instrument_id = any(ids)) and bucket >= first and bucket < last and wanted <> 'ticks'
) as official using (instrument_id, bucket)
full join (
    select * from public.unheard_minutes
    where (ids is null or instrument_id = any(ids)) and bucket >= first and bucket < last and wanted <> 'official'
) as unheard using (instrument_id, bucket)
where wanted = 'best' or coalesce(official.close, own.close) is not null;
end;

-- Five minutes of instruments from ticks.
create function tickline.fives_of(ids integer[], first timestamptz, last timestamptz)
returns setof tickline.minutes
language sql stable parallel safe
begin atomic
select
    own.instrument_id,
    own.bucket,
    own.open,
    own.high,
    own.low,
    own.close,
    own.volume,
    own.oi,
    own.ticks,
    own.trades,
    'ticks' as source,
    case
        when unheard.quality is not null then unheard.quality
        when
            (
                tickline.is_before_open(own.bucket)
                or tickline.market_day(own.bucket) in (select special.day from tickline.special_sessions as special)
            )
            and tickline.is_auction(own.instrument_id, own.bucket)
            then 'auction'
        when own.trades < 2 then 'thin'
        else 'complete'
    end as quality,
    own.iv,
    own.delta,
    own.gamma
from public.bars_5m as own
left join (
    select
        instrument_id,
        tickline.bucket_5m(bucket) as bucket,
        min(quality) as quality  -- gap before partial
    from public.unheard_minutes
    where (ids is null or instrument_id = any(ids)) and bucket >= first and bucket < last
    group by instrument_id, tickline.bucket_5m(bucket)
) as unheard using (instrument_id, bucket)
where (ids is null or own.instrument_id = any(ids)) and own.bucket >= first and own.bucket < last;
end;

-- Wider bars of instruments, whose narrow bars begin in a range. They begin at the open of the session and every width
-- after it, with the auction in the first one; width null: five minutes by the clock, as the database keeps them.
-- by_fives: from five-minute bars of ticks. source: that of its bars, 'mixed' if they differ. quality: the worst.
create function tickline.wide_bars(
    ids integer[], first timestamptz, last timestamptz, wanted text, width interval, by_fives boolean
)
returns setof tickline.minutes
language sql stable parallel safe
begin atomic
with narrow as (
    select * from tickline.fives_of(ids, first, last)
    where by_fives
    union all
    select * from tickline.minutes_of(ids, first, last, wanted)
    where not by_fives
),

segments as materialized (
    select
        instrument_id,
        split_part(instrument_key, '|', 1) as segment,
        tickline.usual_open(split_part(instrument_key, '|', 1)) as usual_open
    from public.instruments
    where ids is null or instrument_id = any(ids)
),

placed as (
    select
        narrow.*,
        case
            when width is null then tickline.bucket_5m(narrow.bucket)
            else greatest(opens.at, date_bin(width, narrow.bucket, opens.at))
        end as wide
    from narrow
    inner join segments using (instrument_id)
    left join tickline.special_sessions as special
        on special.day = tickline.market_day(narrow.bucket) and special.segment = segments.segment
    cross join lateral (
        select coalesce(
            special.opens_at,
            tickline.day_begin(tickline.market_day(narrow.bucket)) + segments.usual_open
        ) as at
    ) as opens
)

select
    instrument_id,
    wide as bucket,
    (array_agg(open order by bucket) filter (where close is not null))[1] as open,
    max(high) as high,
    min(low) as low,
    (array_agg(close order by bucket) filter (where close is not null))[count(close)] as close,
    sum(volume)::bigint as volume,
    (array_agg(oi order by bucket) filter (where oi is not null))[count(oi)] as oi,
    sum(ticks)::bigint as ticks,
    sum(trades)::bigint as trades,
    case
        when min(source) filter (where close is not null) = max(source) filter (where close is not null)
            then min(source) filter (where close is not null)
        else 'mixed'
    end as source,
    case
        when bool_or(quality = 'gap') then 'gap'
        when bool_or(quality = 'partial') then 'partial'
        when bool_or(quality = 'thin') then 'thin'
        when bool_or(quality = 'auction') then 'auction'
        else 'complete'
    end as quality,
    (array_agg(iv order by bucket) filter (where iv is not null))[count(iv)] as iv,
    (array_agg(delta order by bucket) filter (where delta is not null))[count(delta)] as delta,
    (array_agg(gamma order by bucket) filter (where gamma is not null))[count(gamma)] as gamma
from placed
group by instrument_id, wide
having count(close) > 0;
end;

-- Bars of days: the exchange's own open, high, low and volume of the day where the feed said them. The
-- larger volume is kept: theirs is that of the last trade received, and starts again at 0 when the count is reset.
create function tickline.day_bars(ids integer[], first timestamptz, last timestamptz, wanted text)
returns setof tickline.minutes
language sql stable parallel safe
begin atomic
select
    bar.instrument_id,
    bar.bucket,
    coalesce(official.open, bar.open) as open,
    greatest(bar.high, official.high) as high,
    least(bar.low, official.low) as low,
    bar.close,
    greatest(bar.volume, official.volume) as volume,
    bar.oi,
    bar.ticks,
    bar.trades,
    bar.source,
    bar.quality,
    bar.iv,
    bar.delta,
    bar.gamma
from tickline.wide_bars(ids, first, last, wanted, interval '1 day', wanted = 'ticks') as bar
left join lateral tickline.official_day(bar.instrument_id, tickline.market_day(bar.bucket)) as official on true;
end;

-- Bars of weeks (from Monday on) or months, from those of days; they begin at the usual open of their first day.
create function tickline.period_bars(ids integer[], first timestamptz, last timestamptz, wanted text, period text)
returns setof tickline.minutes
language sql stable parallel safe
begin atomic
with days as (
    select
        day.*,
        tickline.day_begin(date_trunc(period, tickline.market_day(day.bucket)::timestamp)::date)
        + tickline.usual_open(split_part(instrument.instrument_key, '|', 1)) as wide
    from tickline.day_bars(ids, first, last, wanted) as day
    inner join public.instruments as instrument using (instrument_id)
)

select
    instrument_id,
    wide as bucket,
    (array_agg(open order by bucket))[1] as open,
    max(high) as high,
    min(low) as low,
    (array_agg(close order by bucket))[count(close)] as close,
    sum(volume)::bigint as volume,
    (array_agg(oi order by bucket) filter (where oi is not null))[count(oi)] as oi,
    sum(ticks)::bigint as ticks,
    sum(trades)::bigint as trades,
    case when min(source) = max(source) then min(source) else 'mixed' end as source,
    case
        when bool_or(quality = 'gap') then 'gap'
        when bool_or(quality = 'partial') then 'partial'
        when bool_or(quality = 'thin') then 'thin'
        when bool_or(quality = 'auction') then 'auction'
        else 'complete'
    end as quality,
    (array_agg(iv order by bucket) filter (where iv is not null))[count(iv)] as iv,
    (array_agg(delta order by bucket) filter (where delta is not null))[count(delta)] as delta,
    (array_agg(gamma order by bucket) filter (where gamma is not null))[count(gamma)] as gamma
from days
group by instrument_id, wide;
end;

-- Bars of instruments (null: of all) that begin in [start, "end"), unordered.
create function public.bars(
    instruments integer[],
    "interval" text default '1m',
    start timestamptz default '-infinity',
    "end" timestamptz default 'infinity',
    source text default 'best'
)
returns setof public.best_bars_1m
language plpgsql stable parallel safe
set plan_cache_mode to force_custom_plan
as $$
#variable_conflict use_column
declare
    minutes constant integer := tickline.interval_minutes(bars."interval");
    wanted constant text := lower(bars.source);
    begins constant timestamptz := coalesce(bars.start, '-infinity');
    ends constant timestamptz := coalesce(bars."end", 'infinity');
    period constant text := case minutes when 10080 then 'week' when 44640 then 'month' else 'day' end;
    -- A wide bar that begins in the range has rows before the open and after the end.
    first constant timestamptz := tickline.day_begin(date_trunc(period, tickline.market_day(begins)::timestamp)::date);
    last constant timestamptz := ends + minutes * interval '1 minute';
    ids constant integer[] := bars.instruments;
begin
    if wanted is null or wanted not in ('best', 'ticks', 'official') then
        raise exception 'source ''%'' is none of ''best'', ''ticks'', ''official''', bars.source
            using errcode = 'invalid_parameter_value';
    end if;
    if minutes = 1 then
        return query
        select * from tickline.minutes_of(ids, begins, ends, wanted)
        where close is not null;
    elsif minutes = 5 and wanted = 'ticks' then
        return query
        select * from tickline.fives_of(ids, begins, ends);
    elsif minutes < 1440 then
        return query
        select *
        from tickline.wide_bars(
            ids,
            first,
            last,
            wanted,
            case when minutes <> 5 then minutes * interval '1 minute' end,
            wanted = 'ticks' and minutes % 5 = 0
        )
        where bucket >= begins and bucket < ends;
    elsif minutes = 1440 then
        return query
        select * from tickline.day_bars(ids, first, last, wanted)
        where bucket >= begins and bucket < ends;
    else
        return query
        select * from tickline.period_bars(ids, first, last, wanted, period)
        where bucket >= begins and bucket < ends;
    end if;
end
$$;

-- The same for one instrument.
create function public.bars(
    instrument integer,
    "interval" text default '1m',
    start timestamptz default '-infinity',
    "end" timestamptz default 'infinity',
    source text default 'best'
)
returns setof public.best_bars_1m
language sql stable parallel safe
begin atomic
select * from public.bars(array[instrument], "interval", start, "end", source);
end;

-- The same for a name, as it is meant on the day of start, otherwise of "end", otherwise today.
create function public.bars(
    name text,
    "interval" text default '1m',
    start timestamptz default '-infinity',
    "end" timestamptz default 'infinity',
    source text default 'best'
)
returns setof public.best_bars_1m
language sql stable parallel safe
begin atomic
select *
from public.bars(
    array[
        public.instrument(
            name,
            case
                when isfinite(start) then tickline.market_day(start)
                when isfinite("end") then tickline.market_day("end" - interval '1 microsecond')
            end
        )
    ],
    "interval",
    start,
    "end",
    source
);
end;
