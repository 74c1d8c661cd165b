-- Questions that need more than one relation, as functions.

-- All instruments of one minute: without this index the database reads a week of official bars.
create index official_bars_1m_bucket_idx on public.official_bars_1m (bucket);

-- Start of the newest day with ticks: local midnight. Null without ticks.
create function public.last_session() returns timestamptz
language sql stable
return (select tickline.day_begin(max(day)) from tickline.tick_days() as day);

-- Start of the newest minute with a bar. Below the watermark bars are stored, so only the newest are looked at.
create function tickline.newest_minute() returns timestamptz
language sql stable
return (
    select max(bucket)
    from public.bars_1m
    where bucket >= tickline.bar_watermark('bars_1m') - interval '1 minute'
);

-- Calls and puts of an underlying side by side, as they were last reported at a time; nearest expiry unless one is given.
create function public.option_chain(
    underlying text, at timestamptz default now(), expiry date default null
)
returns table (
    expiry_day date,
    strike double precision,
    call_id integer,
    call_ltp double precision,
    call_bid double precision,
    call_ask double precision,
    call_volume bigint,
    call_oi bigint,
    call_iv double precision,
    call_delta double precision,
    call_at timestamptz,
    put_id integer,
    put_ltp double precision,
    put_bid double precision,
    put_ask double precision,
    put_volume bigint,
    put_oi bigint,
    put_iv double precision,
    put_delta double precision,
    put_at timestamptz
)
language plpgsql stable
set plan_cache_mode to force_custom_plan
as $$
#variable_conflict use_column
declare
    until constant timestamptz := option_chain.at;
    day constant date := tickline.market_day(until);
    spot constant text := (
        select instrument_key from public.instruments
        where instrument_id = public.instrument(option_chain.underlying, day)
    );
    nearest constant date := (
        select min(option.expiry)
        from public.instruments as option
        where
            option.underlying_key = spot
            and option.instrument_type in ('CE', 'PE')
            and option.expiry >= coalesce(option_chain.expiry, day)
    );
begin
    return query
    with last_ticks as (
        select
            option.instrument_type,
            option.strike as level,
            last_tick.*
        from public.instruments as option
        cross join lateral (
            select
                ticks.instrument_id,
                ticks.ltp,
                ticks.bid,
                ticks.ask,
                ticks.vtt,
                ticks.oi,
                ticks.iv,
                ticks.delta,
                ticks.ts
            from public.ticks
            where
                ticks.instrument_id = option.instrument_id
                and ticks.ts <= until
                and ticks.ts > until - interval '7 days'
            order by ticks.ts desc, ticks.seq desc
            limit 1
        ) as last_tick
        where
            option.underlying_key = spot
            and option.instrument_type in ('CE', 'PE')
            and option.expiry = nearest
    )

    select
        nearest,
        level,
        call.instrument_id,
        call.ltp,
        call.bid,
        call.ask,
        call.vtt,
        call.oi,
        call.iv,
        call.delta,
        call.ts,
        put.instrument_id,
        put.ltp,
        put.bid,
        put.ask,
        put.vtt,
        put.oi,
        put.iv,
        put.delta,
        put.ts
    from (select * from last_ticks where instrument_type = 'CE') as call
    full join (select * from last_ticks where instrument_type = 'PE') as put using (level);
end
$$;

-- Instruments whose price moved most, up or down, in the minutes before a time; without one, to the newest minute.
create function public.top_movers(
    minutes integer default 5, at timestamptz default null, most integer default 20
)
returns table (
    instrument_id integer,
    trading_symbol text,
    open double precision,
    close double precision,
    change_pct double precision,
    volume bigint,
    first_minute timestamptz,
    last_minute timestamptz
)
language plpgsql stable
set plan_cache_mode to force_custom_plan
as $$
#variable_conflict use_column
declare
    until constant timestamptz := coalesce(
        tickline.bucket_1m(top_movers.at), tickline.newest_minute() + interval '1 minute'
    );
    since constant timestamptz := until - top_movers.minutes * interval '1 minute';
    count constant integer := top_movers.most;
begin
    return query
    with moved as (
        select
            instrument_id,
            (array_agg(open order by bucket))[1] as open,
            (array_agg(close order by bucket desc))[1] as close,
            sum(volume)::bigint as volume,
            min(bucket) as first_minute,
            max(bucket) as last_minute
        from tickline.minutes_of(null, since, until, 'best')
        where close is not null
        group by instrument_id
    )

    select
        moved.instrument_id,
        instrument.trading_symbol,
        moved.open,
        moved.close,
        100 * (moved.close / moved.open - 1) as change_pct,
        moved.volume,
        moved.first_minute,
        moved.last_minute
    from moved
    inner join public.instruments as instrument using (instrument_id)
    where moved.open > 0
    order by abs(moved.close / moved.open - 1) desc, moved.instrument_id
    limit count;
end
$$;
