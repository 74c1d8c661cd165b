-- Minutes of which we did not hear all that an instrument had to say, and that are not repaired: what
-- `quality` of the best bars is made of. Of a break there are the first minute and the last three
-- at most: between them we have nothing of our own, and what fills it is the vendor's and whole.
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
