-- What a person says of an event, at most once. A label belongs to an instrument and a minute, not to a signal, so that
-- it stays when rules change and signals are found again.
create table public.labels (
    instrument_id integer not null,
    bucket timestamptz not null,
    verdict text not null,
    note text,
    labelled_at timestamptz not null default now(),
    labelled_by text not null default session_user,
    constraint labels_pkey primary key (instrument_id, bucket),
    constraint labels_verdict_check check (verdict in ('right', 'wrong', 'missed'))
);

create index labels_bucket_idx on public.labels (bucket);

comment on table public.labels is 'what a person says of signals, and of spikes that no signal told';
comment on column public.labels.instrument_id is 'of instruments';
comment on column public.labels.bucket is 'start of the minute of the signal, or of a spike that was missed';
comment on column public.labels.verdict is 'right: the signal told a spike; wrong: it did not; missed: a spike that no signal told';
comment on column public.labels.note is 'why, in the words of the person; null: nothing was said';
comment on column public.labels.labelled_at is 'when it was said last';
comment on column public.labels.labelled_by is 'login of the database that said it';
