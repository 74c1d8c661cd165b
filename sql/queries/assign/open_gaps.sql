-- Say that instruments are not received any more because their collector is lost, from its newest tick on.
-- The connection of such a gap is '*': whichever of the collector's had the instrument.
-- Parameters: collector, reason text; instrument_keys text[]; on date (market-local), for what the keys mean.
-- Columns: instrument_id int4; started_at timestamptz. Expect: one row for each instrument that has no such gap yet;
-- none for a collector without ticks.
insert into feed_gaps (collector, connection, instrument_id, started_at, reason)
select
    %(collector)s,
    '*',
    key.instrument_id,
    newest.last_ts,
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
    newest.last_ts is not null
    and not exists (
        select
        from feed_gaps as open
        where
            open.collector = %(collector)s
            and open.instrument_id = key.instrument_id
            and open.reason = %(reason)s
            and (open.ended_at is null or open.ended_at > newest.last_ts)
    )
returning instrument_id, started_at
