-- What a collector has left to repair today, and how far the bars are complete. By the indexes on started_at and on
-- bucket. Breaks of whole connections count; one that began on an earlier day is not of this one.
-- Parameters: collector text; start, end, repaired_by timestamptz: today so far, and when a gap should have ended to
-- be repaired by now.
-- Columns: gaps, unrepaired int8; first_ended_at timestamptz, of the unrepaired; unheard int8, minutes of instruments
-- without a complete bar; watermark timestamptz, before which each bar of one minute is final, null: none is.
-- Expect: one row.
-- Example: collector => 'default', start => '2026-11-27 00:00+05:30', end => '2026-11-27 11:00+05:30',
-- repaired_by => '2026-11-27 10:50+05:30'
with gaps as (
    select
        ended_at,
        repaired_at is null and ended_at < %(repaired_by)s as is_overdue
    from feed_gaps
    where
        collector = %(collector)s
        and instrument_id is null
        and started_at >= %(start)s
        and started_at < %(end)s
)

select
    count(*) as gaps,
    count(*) filter (where is_overdue) as unrepaired,
    min(ended_at) filter (where is_overdue) as first_ended_at,
    (select count(*) from unheard_minutes where bucket >= %(start)s and bucket < %(end)s) as unheard,
    nullif(tickline.bar_watermark('bars_1m'), '-infinity') as watermark
from gaps
