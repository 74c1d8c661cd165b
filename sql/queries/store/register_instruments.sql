-- Instruments that keys mean on a day; create an instrument for an unknown key, if the day's limit allows it.
-- Keys are reused after expiry: a key means the instrument that has not expired on that day, if it surely had the key
-- then: it became known at most known_within_days later, or does not expire. In order of preference: still in the
-- vendor's list on that day; known on that day, otherwise known soonest after; nearest expiry.
-- A day may add unknown_max keys that were never in a list, in the order given; those of a future day count as
-- today's, because they are known since today.
-- Parameters: instrument_keys text[], each once; day date (market-local); known_within_days, unknown_max int4.
-- Columns: instrument_id int4, instrument_key text, trading_symbol text (null: it is in no list).
-- Expect: at most one row per key; 2,000 new ones in 40 ms.
with wanted as (
    select
        instrument_key,
        place
    from unnest(%(instrument_keys)s::text[]) with ordinality as given (instrument_key, place)
),

alive as (
    select distinct on (instrument.instrument_key)
        instrument.instrument_id,
        instrument.instrument_key,
        instrument.trading_symbol,
        instrument.instrument_type is not null as is_named,
        instrument.valid_from
    from instruments as instrument
    inner join wanted using (instrument_key)
    where
        instrument.expiry is null
        or (
            instrument.expiry >= %(day)s
            and (instrument.valid_from at time zone 'Asia/Kolkata')::date <= %(day)s::date + %(known_within_days)s::int4
        )
    order by
        instrument.instrument_key,
        coalesce((instrument.valid_to at time zone 'Asia/Kolkata')::date <= %(day)s, false),
        greatest((instrument.valid_from at time zone 'Asia/Kolkata')::date, %(day)s),
        (instrument.valid_to is not null),
        instrument.expiry nulls last
),

missing as (
    select
        wanted.instrument_key,
        wanted.place,
        exists (
            select from instruments as earlier
            where earlier.instrument_key = wanted.instrument_key and earlier.instrument_type is not null
        ) as was_named
    from wanted
    where wanted.instrument_key not in (select alive.instrument_key from alive)
),

known_since as (
    select least(%(day)s::date, (now() at time zone 'Asia/Kolkata')::date) as day
),

met_today as (
    select count(instruments.instrument_id) as instruments
    from instruments
    cross join known_since
    where
        instrument_type is null
        and valid_from >= known_since.day::timestamp at time zone 'Asia/Kolkata'
        and valid_from < (known_since.day + 1)::timestamp at time zone 'Asia/Kolkata'
),

strangers as (
    select
        missing.instrument_key,
        row_number() over (order by missing.place) + met_today.instruments as number
    from missing
    cross join met_today
    where not missing.was_named
),

created as (
    insert into instruments (instrument_key, segment, valid_from)
    select
        missing.instrument_key,
        split_part(missing.instrument_key, '|', 1),
        least(now(), %(day)s::date::timestamp at time zone 'Asia/Kolkata')
    from missing
    left join strangers using (instrument_key)
    where coalesce(strangers.number <= %(unknown_max)s::int4, true)
    on conflict (instrument_key, expiry) do update set segment = excluded.segment
    returning instrument_id, instrument_key, trading_symbol
),

met_earlier as (
    update instruments as instrument
    set valid_from = %(day)s::date::timestamp at time zone 'Asia/Kolkata'
    from alive
    where
        instrument.instrument_id = alive.instrument_id
        and not alive.is_named
        and alive.valid_from > %(day)s::date::timestamp at time zone 'Asia/Kolkata'
)

select
    instrument_id,
    instrument_key,
    trading_symbol
from alive
union all
select
    instrument_id,
    instrument_key,
    trading_symbol
from created
