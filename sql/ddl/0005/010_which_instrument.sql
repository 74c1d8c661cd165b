-- Identity of instruments: the exchange may move an expiry, and an instrument met in the feed is known since then.
alter table tickline.instrument_terms add column expiry date;

-- The creation of an unnamed row does not date its ticks: a recording may be years old.
update public.instruments as instrument
set valid_from = active.first_seen
from tickline.active_instruments as active
where
    active.instrument_id = instrument.instrument_id
    and instrument.instrument_type is null
    and active.first_seen < instrument.valid_from;
