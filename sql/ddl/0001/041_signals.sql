-- What spike detection found.
create table public.signals (
    instrument_id integer not null,
    bucket timestamptz not null,
    rule_set text not null,
    direction text not null,
    confidence double precision not null,
    score double precision not null,
    reasons jsonb not null,
    created_at timestamptz not null default now(),
    constraint signals_pkey primary key (instrument_id, bucket, rule_set),
    constraint signals_confidence_check check (confidence >= 0 and confidence <= 1)
);

create index signals_bucket_idx on public.signals (bucket);

comment on table public.signals is 'what spike detection found';
comment on column public.signals.instrument_id is 'of instruments';
comment on column public.signals.bucket is 'start of the bar that shows it';
comment on column public.signals.rule_set is 'name and version of the rules';
comment on column public.signals.direction is 'which way the price went';
comment on column public.signals.confidence is '0 to 1';
comment on column public.signals.score is 'strength, in the unit of the rule set';
comment on column public.signals.reasons is 'the figures behind it';
comment on column public.signals.created_at is 'when it was found';
