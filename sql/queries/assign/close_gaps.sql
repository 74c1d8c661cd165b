-- End the open gaps of lost collectors at the first tick of the instrument after their start, whoever received it.
-- Parameters: reason text; instrument_keys text[], those that a living collector has; on date (market-local), for what
-- the keys mean.
-- Columns: instrument_id int4; started_at, ended_at timestamptz. Expect: one row for each gap that has ended.
with open_gaps as (
    select
        gap.gap_id,
        heard.at
    from tickline.resolve_keys(%(instrument_keys)s, %(on)s) as key
    inner join feed_gaps as gap using (instrument_id)
    cross join lateral (
        select min(ticks.ts) as at
        from ticks
        where ticks.instrument_id = gap.instrument_id and ticks.ts > gap.started_at
    ) as heard
    where gap.reason = %(reason)s and gap.ended_at is null
)

update feed_gaps
set ended_at = open_gaps.at
from open_gaps
where feed_gaps.gap_id = open_gaps.gap_id and open_gaps.at is not null
returning feed_gaps.instrument_id, feed_gaps.started_at, feed_gaps.ended_at
