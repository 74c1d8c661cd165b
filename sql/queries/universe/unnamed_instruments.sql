-- Instruments met in the feed with a key that the master has now, but too long ago to be surely the same contract.
-- Reads `master_rows`. Columns: instruments int8, instrument_key text, one of them. Expect: one row.
select
    count(*) as instruments,
    min(instrument.instrument_key) as instrument_key
from instruments as instrument
where
    instrument.expiry is null
    and instrument.instrument_type is null
    and instrument.valid_to is null
    and exists (
        select 1
        from master_rows as master
        where
            master.instrument_key = instrument.instrument_key
            and master.expiry is not null
    )
