-- Which instrument is meant: the exchange may move an expiry, and what was met in the feed is known since it was met.
alter table tickline.instrument_terms add column expiry date;

-- When a row without a name was made says nothing of whose ticks it has: a recording may be years old.
update public.instruments as instrument
set valid_from = active.first_seen
from tickline.active_instruments as active
where
    active.instrument_id = instrument.instrument_id
    and instrument.instrument_type is null
    and active.first_seen < instrument.valid_from;
