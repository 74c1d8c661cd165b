-- Which keys are missed if a collector is lost. The writer that spreads the universe notes it when it changes, so that
-- any other, with a home of its own, can name the gap of a collector that is lost while no writer runs.
create table tickline.collectors (
    collector text not null,
    source text not null,
    account jsonb not null,
    keys jsonb not null,
    noted_at timestamptz not null default now(),
    constraint collectors_pkey primary key (collector),
    constraint collectors_account_check check (jsonb_typeof(account) = 'object'),
    constraint collectors_keys_check check (jsonb_typeof(keys) = 'object')
);

comment on table tickline.collectors is 'collectors over which a universe is spread, one row each';
comment on column tickline.collectors.collector is 'its name';
comment on column tickline.collectors.source is 'how the writer reaches it: an address, or nats: and its name';
comment on column tickline.collectors.account is 'what its account has room for: connections, plus, standby';
comment on column tickline.collectors.keys is 'keys that it receives, instrument key -> mode; none: its loss is in feed_gaps already';
comment on column tickline.collectors.noted_at is 'when any of it changed last';
