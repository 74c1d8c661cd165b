-- Names to instruments, in SQL as on the command line.
create index instruments_symbol_idx on public.instruments (trading_symbol);
create index instruments_symbol_spelling_idx on public.instruments (replace(upper(trading_symbol), ' ', ''));
create index instruments_key_spelling_idx on public.instruments (replace(upper(instrument_key), ' ', ''));
create index instruments_future_spelling_idx
on public.instruments ((replace(upper(split_part(trading_symbol, ' FUT ', 1)), ' ', '') || 'FUT'))
where instrument_type = 'FUT';
create index instruments_name_spelling_idx on public.instruments (replace(upper(name), ' ', '')) where expiry is null;

-- Instruments of keys on a day, at most one each. Among several: not expired; still in the vendor's list on that day;
-- known on that day, otherwise known soonest after; in the list now; nearest expiry.
create function tickline.resolve_keys(keys text[], on_day date)
returns table (spelling text, instrument_id integer)
language sql stable parallel safe
begin atomic
select distinct on (instrument.instrument_key)
    instrument.instrument_key as spelling,
    instrument.instrument_id
from public.instruments as instrument
where instrument.instrument_key = any(keys)
order by
    instrument.instrument_key,
    (instrument.expiry is not null and instrument.expiry < on_day),
    coalesce(tickline.market_day(instrument.valid_to) <= on_day, false),
    greatest(tickline.market_day(instrument.valid_from), on_day),
    (instrument.valid_to is not null),
    abs(instrument.expiry - on_day) nulls last,
    instrument.instrument_id;
end;

-- Instruments that names mean on a day: one for each spelling, several if nothing distinguishes them. A spelling is a
-- name in upper case without spaces. In order of preference it is an instrument key, a trading symbol, an underlying
-- with FUT (its unexpired future nearest to expiry), or the full name of an instrument without expiry. Among several:
-- not expired; still in the vendor's list on that day; NSE before BSE before others; an index, then a share by its
-- series, then others; nearest expiry; known on that day, otherwise known soonest after; in the list now; the newest.
create function tickline.resolve_names(spellings text[], on_day date)
returns table (spelling text, instrument_id integer)
language sql stable parallel safe
begin atomic
with spelled_instruments as (
    select
        replace(upper(one.instrument_key), ' ', '') as spelling,
        1 as preference,
        one.*
    from public.instruments as one
    where replace(upper(one.instrument_key), ' ', '') = any(spellings)
    union all
    select
        replace(upper(one.trading_symbol), ' ', '') as spelling,
        2 as preference,
        one.*
    from public.instruments as one
    where replace(upper(one.trading_symbol), ' ', '') = any(spellings)
    union all
    select
        replace(upper(split_part(one.trading_symbol, ' FUT ', 1)), ' ', '') || 'FUT' as spelling,
        3 as preference,
        one.*
    from public.instruments as one
    where
        one.instrument_type = 'FUT'
        and one.expiry >= on_day
        and replace(upper(split_part(one.trading_symbol, ' FUT ', 1)), ' ', '') || 'FUT' = any(spellings)
    union all
    select
        replace(upper(one.name), ' ', '') as spelling,
        4 as preference,
        one.*
    from public.instruments as one
    where one.expiry is null and replace(upper(one.name), ' ', '') = any(spellings)
),

ranked_instruments as (
    select
        spelling,
        instrument_id,
        instrument_key,
        rank() over (
            partition by spelling
            order by
                (expiry is not null and expiry < on_day),
                coalesce(tickline.market_day(valid_to) <= on_day, false),
                preference,
                array_position(array['NSE', 'NCD', 'BSE', 'BCD'], left(segment, 3)) nulls last,
                -- Shares by series: freely traded, delivery only, under watch; then small companies; then BSE's groups.
                array_position(
                    array[
                        'INDEX', 'EQ', 'BE', 'BZ', 'SM', 'ST', 'SZ',
                        'A', 'B', 'T', 'X', 'XT', 'Z', 'ZP', 'M', 'MT', 'MS'
                    ],
                    instrument_type
                ) nulls last,
                abs(expiry - on_day) nulls last,
                greatest(tickline.market_day(valid_from), on_day),
                (valid_to is not null),
                tickline.market_day(valid_from) desc
        ) as place
    from spelled_instruments
)

select distinct on (spelling, instrument_key)
    spelling,
    instrument_id
from ranked_instruments
where place = 1
order by
    spelling,
    instrument_key,
    instrument_id;
end;

-- The instrument that a name means, as on the command line; an error if there is none, or several.
create function public.instrument(name text, on_day date default null) returns integer
language plpgsql stable parallel safe
as $$
declare
    day constant date := coalesce(on_day, tickline.market_day(now()));
    found constant integer[] := coalesce(
        (select array_agg(key.instrument_id) from tickline.resolve_keys(array[btrim(name)], day) as key),
        (
            select array_agg(named.instrument_id)
            from tickline.resolve_names(array[upper(regexp_replace(name, '\s', '', 'g'))], day) as named
        )
    );
begin
    if cardinality(found) = 1 then
        return found[1];
    end if;
    if cardinality(found) > 1 then
        raise exception 'name ''%'' means % instruments: give one of their keys: %', name, cardinality(found), (
            select string_agg(quote_literal(instrument_key), ', ' order by instrument_key)
            from public.instruments
            where instrument_id = any(found[1:5])
        ) using errcode = 'cardinality_violation';
    end if;
    raise exception 'unknown instrument ''%'' on %: give an instrument key, as ''NSE_FO|53001'', or a trading symbol, as ''INFY''',
        name, day using errcode = 'no_data_found';
end
$$;

comment on function public.instrument is 'instrument_id of a name or key on a day (market-local, default today): as the command line resolves it';
