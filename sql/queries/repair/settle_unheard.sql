-- Delete repaired unheard minutes: those with an official bar, and those without a trade, as far as we and the vendor
-- know.
-- Parameters: instrument_ids int4[], null: all; start, end timestamptz, half-open; asked bool: the vendor's bars
-- of the whole range are stored.
-- Columns: instrument_id int4, bucket timestamptz: the deleted minutes.
delete from unheard_minutes as unheard
where
    unheard.bucket >= %(start)s
    and unheard.bucket < %(end)s
    and (%(instrument_ids)s::int4[] is null or unheard.instrument_id = any(%(instrument_ids)s::int4[]))
    and (
        exists (
            select
            from official_bars_1m as official
            where official.instrument_id = unheard.instrument_id and official.bucket = unheard.bucket
        )
        or (
            %(asked)s
            and not exists (
                select
                from bars_1m as bars
                where bars.instrument_id = unheard.instrument_id and bars.bucket = unheard.bucket
            )
        )
    )
returning unheard.instrument_id, unheard.bucket
