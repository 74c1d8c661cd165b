-- What the master no longer has, of the segments that it does have, ends now. Reads `master_rows`.
update instruments as instrument
set valid_to = now()
where
    instrument.valid_to is null
    and instrument.segment in (select distinct segment from master_rows)
    and not exists (
        select 1
        from master_rows as master
        where
            master.instrument_key = instrument.instrument_key
            and coalesce(master.expiry, 'infinity') = coalesce(instrument.expiry, 'infinity')
    )
