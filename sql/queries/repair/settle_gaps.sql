-- Note gaps as repaired that touch no unheard minute any more. Parameters: start, end timestamptz, half-open, of
-- the gap's end. A volume that was traded before we began is repaired when nothing of its instrument's day is left.
update feed_gaps
set repaired_at = now()
where
    repaired_at is null
    and ended_at >= %(start)s
    and ended_at < %(end)s
    and not exists (
        select
        from unheard_minutes as unheard
        where
            unheard.bucket >= tickline.bucket_1m(feed_gaps.started_at)
            and unheard.bucket <= case
                when feed_gaps.reason = 'volume before we began' then feed_gaps.ended_at + interval '1 day'
                else feed_gaps.ended_at
            end
            and (feed_gaps.instrument_id is null or unheard.instrument_id = feed_gaps.instrument_id)
    )
