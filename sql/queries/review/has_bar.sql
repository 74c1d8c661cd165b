-- Whether an instrument has a bar of a minute. Expect: one row.
-- Parameters: instrument_id int4; bucket timestamptz. Columns: has_bar bool.
select exists (
    select
    from best_bars_1m
    where instrument_id = %(instrument_id)s and bucket = %(bucket)s
) as has_bar
