-- Keys that are in no list become instruments up to a daily limit. Updates of more are rejected, many in one row.
alter table tickline.rejected_ticks add column updates integer not null default 1;
alter table tickline.rejected_ticks add column held_back boolean not null default false;

comment on column tickline.rejected_ticks.updates is 'so many updates of the frame made no row for this reason; the tick is the first';
comment on column tickline.rejected_ticks.held_back is 'no list has the key, and more such keys were new on the day than are taken';

-- The number of unnamed instruments of a day is read for each new key.
create index instruments_unnamed_idx on public.instruments (valid_from) where instrument_type is null;
