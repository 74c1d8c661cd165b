-- Old terms of instruments that a newer master has changed, and until when they were valid.
create table tickline.instrument_terms (
    instrument_id integer not null,
    valid_to timestamptz not null default now(),
    trading_symbol text,
    lot_size integer,
    tick_size double precision,
    constraint instrument_terms_pkey primary key (instrument_id, valid_to),
    constraint instrument_terms_instrument_fkey foreign key (instrument_id) references public.instruments
);
