-- Minutes in which an instrument was not completely received, and which are not repaired yet: they give the best bars
-- their `quality`. A break has its first minute and at most its last three here: between them there is no data of our
-- own, and bars that fill it are the vendor's and complete.
create table public.unheard_minutes (
    instrument_id integer not null,
    bucket timestamptz not null,
    quality text not null,
    constraint unheard_minutes_pkey primary key (instrument_id, bucket),
    constraint unheard_minutes_quality_check check (quality in ('gap', 'partial'))
);

create index unheard_minutes_bucket_idx on public.unheard_minutes (bucket);

comment on table public.unheard_minutes is 'minutes of which we did not hear all, until they are repaired';
comment on column public.unheard_minutes.instrument_id is 'of instruments';
comment on column public.unheard_minutes.bucket is 'start of the minute';
comment on column public.unheard_minutes.quality is 'gap: we were not listening for a part of it; partial: we began or stopped in it';
