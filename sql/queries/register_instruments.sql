-- The instruments that keys mean on a day; a key that no instrument has gets a row of its own.
-- A key is reused after expiry: the one that has not expired on that day is meant, if it can be known to have had the
-- key then: it was known days later at most (known_within_days), or does not expire. In order of preference: what the
-- vendor's list still held on that day; what was known then, else what was known soonest after; the nearest expiry.
-- Parameters: instrument_keys text[], day date (market-local), known_within_days int4.
-- Columns: instrument_id int4, instrument_key text, is_named bool: whether a list has told what it is.
with wanted as (
    select instrument_key
    from unnest(%(instrument_keys)s::text[]) as given (instrument_key)
),

alive as (
    select distinct on (instrument.instrument_key)
        instrument.instrument_id,
        instrument.instrument_key,
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

created as (
    insert into instruments (instrument_key, segment, valid_from)
    select
        wanted.instrument_key,
        split_part(wanted.instrument_key, '|', 1),
        least(now(), %(day)s::date::timestamp at time zone 'Asia/Kolkata')
    from wanted
    where wanted.instrument_key not in (select alive.instrument_key from alive)
    on conflict (instrument_key, expiry) do update set segment = excluded.segment
    returning instrument_id, instrument_key
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

select instrument_id, instrument_key, is_named from alive
union all
select instrument_id, instrument_key, false as is_named from created
