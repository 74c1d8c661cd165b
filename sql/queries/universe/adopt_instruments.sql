-- Give the expiry of a listed contract to an instrument that was met in the feed before any master had it. It is the
-- same contract if it has the key, was met at most known_within_days before the master, and not after that expiry.
-- Reads `master_rows`.
-- Parameters: known_at timestamptz, the day of the master; known_within_days int4. Expect: few rows.
update instruments as instrument
set expiry = master.expiry
from (
    select distinct on (instrument_key)
        instrument_key,
        expiry
    from master_rows
    where expiry is not null
    order by instrument_key, expiry
) as master
where
    instrument.instrument_key = master.instrument_key
    and instrument.expiry is null
    and (instrument.valid_from at time zone 'Asia/Kolkata')::date
    >= (%(known_at)s::timestamptz at time zone 'Asia/Kolkata')::date - %(known_within_days)s::int4
    and (instrument.valid_from at time zone 'Asia/Kolkata')::date <= master.expiry
    and not exists (
        select 1
        from instruments as known
        where
            known.instrument_key = master.instrument_key
            and known.expiry = master.expiry
    )
