-- Record instruments that tick for the first time in this database.
-- Parameters: instrument_ids int4[], first_seen timestamptz.
insert into tickline.active_instruments (instrument_id, first_seen)
select
    fresh.instrument_id,
    %(first_seen)s
from unnest(%(instrument_ids)s::int4[]) as fresh (instrument_id)
on conflict do nothing
