-- The instruments that keys mean on a day; a key that no instrument has gets a row of its own.
-- A key is reused after expiry: the one that has not expired on that day is meant, the nearest first.
-- Parameters: instrument_keys text[], day date. Columns: instrument_id int4, instrument_key text.
with wanted as (
    select instrument_key
    from unnest(%(instrument_keys)s::text[]) as given (instrument_key)
),

alive as (
    select distinct on (instrument.instrument_key)
        instrument.instrument_id,
        instrument.instrument_key
    from instruments as instrument
    inner join wanted using (instrument_key)
    where
        instrument.expiry is null
        or instrument.expiry >= %(day)s
    order by instrument.instrument_key, instrument.expiry nulls last
),

created as (
    insert into instruments (instrument_key, segment)
    select
        wanted.instrument_key,
        split_part(wanted.instrument_key, '|', 1)
    from wanted
    where wanted.instrument_key not in (select alive.instrument_key from alive)
    on conflict (instrument_key, expiry) do update set segment = excluded.segment
    returning instrument_id, instrument_key
)

select instrument_id, instrument_key from alive
union all
select instrument_id, instrument_key from created
