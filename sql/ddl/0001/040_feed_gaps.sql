-- Times when the feed, or one instrument, was not received, and whether they are repaired.
create table public.feed_gaps (
    gap_id bigint generated always as identity,
    collector text not null,
    connection text not null,
    instrument_id integer,
    started_at timestamptz not null,
    ended_at timestamptz,
    reason text not null,
    volume bigint,
    repaired_at timestamptz,
    constraint feed_gaps_pkey primary key (gap_id),
    constraint feed_gaps_order_check check (ended_at >= started_at)
);

create index feed_gaps_started_at_idx on public.feed_gaps (started_at);

comment on table public.feed_gaps is 'when we were not listening';
comment on column public.feed_gaps.gap_id is 'our number';
comment on column public.feed_gaps.collector is 'which ingester';
comment on column public.feed_gaps.connection is 'which of its connections';
comment on column public.feed_gaps.instrument_id is 'of instruments; null: all of the connection';
comment on column public.feed_gaps.started_at is 'last sign of life';
comment on column public.feed_gaps.ended_at is 'next sign of life; null: not yet';
comment on column public.feed_gaps.reason is 'why';
comment on column public.feed_gaps.volume is 'units known to be traded in it; null: not known';
comment on column public.feed_gaps.repaired_at is 'when official bars filled it; null: not yet';
