-- What the master no longer has, of the segments that it does have, ends with it. Reads `master_rows`.
-- Parameters: listed_keys text[]: keys of rows that could not be read otherwise; these are listed all the same;
-- known_at timestamptz, of which day the master is: what was known later only is not judged by it.
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
