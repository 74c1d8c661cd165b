-- Whether a trade of an instrument in a range is known: a bar, or volume in a gap.
-- Parameters: instrument_id int4; start, end timestamptz, half-open. Columns: traded bool.
select
    exists (
        select
        from best_bars_1m
        where instrument_id = %(instrument_id)s and bucket >= %(start)s and bucket < %(end)s
    )
    or exists (
        select
        from feed_gaps
        where instrument_id = %(instrument_id)s and ended_at >= %(start)s and ended_at < %(end)s and volume > 0
    ) as traded
