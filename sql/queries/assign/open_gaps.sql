-- Say that instruments are not received any more because their collector is lost: from its newest tick in the ledger on,
-- or from the feed's time that it said last, if that is later.
-- began_at timestamptz, if not null, is the begin instead: only one of its connections is lost, and others go on.
-- The connection of such a gap is '*': whichever of the collector's had the instrument.
-- Parameters: collector, reason text; began_at, heard_until timestamptz, null: not known; instrument_keys text[]; on date
-- (market-local), for what the keys mean.
-- Columns: instrument_id int4; started_at timestamptz. Expect: one row for each instrument that has no open gap of the
-- collector; none if it was never heard.
insert into feed_gaps (collector, connection, instrument_id, started_at, reason)
select
    %(collector)s,
    '*',
    key.instrument_id,
    coalesce(%(began_at)s, greatest(newest.last_ts, %(heard_until)s)),
    %(reason)s
from tickline.resolve_keys(%(instrument_keys)s, %(on)s) as key
cross join lateral (
    select max(recent.last_ts) as last_ts
    from (
        select last_ts
        from tickline.ledger
        where collector = %(collector)s and last_ts is not null
        order by batch_id desc
        limit 20
    ) as recent
) as newest
where
    coalesce(%(began_at)s, greatest(newest.last_ts, %(heard_until)s)) is not null
    and not exists (
        select
        from feed_gaps as open
        where
            open.collector = %(collector)s
            and open.instrument_id = key.instrument_id
            and open.reason = %(reason)s
            and open.ended_at is null
    )
returning instrument_id, started_at
