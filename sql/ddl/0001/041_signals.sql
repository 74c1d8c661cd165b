-- Detected spikes, one row for each spike and rule set, with their outcome.
create table public.signals (
    instrument_id integer not null,
    bucket timestamptz not null,
    rule_set text not null,
    direction text not null,
    confidence double precision not null,
    score double precision not null,
    price double precision not null,
    reasons jsonb not null,
    after_5m double precision,
    after_15m double precision,
    after_60m double precision,
    created_at timestamptz not null default now(),
    constraint signals_pkey primary key (instrument_id, bucket, rule_set),
    constraint signals_direction_check check (direction in ('up', 'down')),
    constraint signals_confidence_check check (confidence >= 0 and confidence <= 1)
);

create index signals_bucket_idx on public.signals (bucket);

comment on table public.signals is 'what spike detection found, and what became of it';
comment on column public.signals.instrument_id is 'of instruments';
comment on column public.signals.bucket is 'start of the minute that shows it';
comment on column public.signals.rule_set is 'name of the rules';
comment on column public.signals.direction is 'which way the price went: up or down';
comment on column public.signals.confidence is '0 to 1';
comment on column public.signals.score is 'log-odds';
comment on column public.signals.price is 'close of that minute, rupees';
comment on column public.signals.reasons is 'in words (text) and figures: move (fraction), volume_ratio, and the score of each factor';
comment on column public.signals.after_5m is 'price 5 minutes after the end of the minute over price, minus 1; null: not known yet';
comment on column public.signals.after_15m is 'the same after 15 minutes';
comment on column public.signals.after_60m is 'the same after 60 minutes; behind the close, that of the last bar';
comment on column public.signals.created_at is 'when it was found';
