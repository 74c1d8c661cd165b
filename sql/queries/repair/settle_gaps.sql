-- Mark gaps as repaired that no longer touch an unheard minute. Parameters: start, end timestamptz, half-open, of
-- the gap's end. Volume traded before we began is repaired when its instrument has no unheard minute left that day.
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
