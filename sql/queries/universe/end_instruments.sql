-- End instruments that the master no longer has, if the master has their segment. Reads `master_rows`.
-- Parameters: listed_keys text[]: keys of unreadable rows, which count as listed; known_at timestamptz, the day of the
-- master: instruments that became known later are left alone.
update instruments as instrument
set valid_to = %(known_at)s
where
    instrument.valid_to is null
    and instrument.valid_from <= %(known_at)s
    and instrument.segment in (select distinct segment from master_rows)
    and instrument.instrument_key <> all(%(listed_keys)s::text[])
    and not exists (
        select 1
        from master_rows as master
        where
            master.instrument_key = instrument.instrument_key
            and coalesce(master.expiry, 'infinity') = coalesce(instrument.expiry, 'infinity')
    )
