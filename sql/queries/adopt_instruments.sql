-- A contract that was met in the feed before any master named it has a row without expiry: give it the expiry
-- of the contract that has its key now. Reads `master_rows`. Expect: few rows.
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
    and not exists (
        select 1
        from instruments as known
        where
            known.instrument_key = master.instrument_key
            and known.expiry = master.expiry
    )
