-- End the open gaps of lost collectors whose instruments another collector receives now.
-- Parameters: reason text; instrument_keys text[]; on date (market-local), for what the keys mean; ended_at timestamptz,
-- the feed's time at which all of them had been received.
-- Columns: instrument_id int4; started_at, ended_at timestamptz. Expect: one row for each gap that has ended.
update feed_gaps
set ended_at = greatest(feed_gaps.started_at, %(ended_at)s)
from tickline.resolve_keys(%(instrument_keys)s, %(on)s) as key
where
    feed_gaps.instrument_id = key.instrument_id
    and feed_gaps.reason = %(reason)s
    and feed_gaps.ended_at is null
returning feed_gaps.instrument_id, feed_gaps.started_at, feed_gaps.ended_at
