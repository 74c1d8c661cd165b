-- Gaps of the newest session, newest first: breaks of whole connections, each with the volume known to be traded in it;
-- and in one row what was traded before recording began.
-- Expect: a row per break, by the index of started_at.
-- Parameters: most, how many rows at most.
-- Columns: connection (null: before recording began), started_at, ended_at (null: it lasts), reason, instruments (whose
-- volume is known), volume (units), repaired_at (null: not yet), gaps, repaired (breaks in all, not only those returned).
with session_gaps as materialized (
    select
        gap_id,
        connection,
        instrument_id,
        started_at,
        ended_at,
        reason,
        volume,
        repaired_at
    from feed_gaps
    where started_at >= last_session()
),

breaks as (
    select
        connection,
        started_at,
        ended_at,
        reason,
        repaired_at,
        count(*) over () as gaps,
        count(repaired_at) over () as repaired
    from session_gaps
    where instrument_id is null
    order by started_at desc
    limit %(most)s
),

before_recording as (
    select
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        count(*) as instruments,
        sum(volume) as volume,
        case when count(*) = count(repaired_at) then max(repaired_at) end as repaired_at
    from session_gaps
    where instrument_id is not null and reason = 'volume before we began'
    having count(*) > 0
)

select
    breaks.connection,
    breaks.started_at,
    breaks.ended_at,
    breaks.reason,
    hidden.instruments,
    hidden.volume::bigint as volume,
    breaks.repaired_at,
    breaks.gaps,
    breaks.repaired
from breaks
cross join lateral (
    select
        count(*) as instruments,
        sum(volume) as volume
    from session_gaps as hidden
    where
        hidden.instrument_id is not null
        and hidden.reason = 'volume of a break'
        and hidden.connection = breaks.connection
        and hidden.started_at <= coalesce(breaks.ended_at, 'infinity')
        and hidden.ended_at >= breaks.started_at
) as hidden
union all
select
    null as connection,
    started_at,
    ended_at,
    'volume before recording began' as reason,
    instruments,
    volume::bigint as volume,
    repaired_at,
    null as gaps,
    null as repaired
from before_recording
order by started_at desc
