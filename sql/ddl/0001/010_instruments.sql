-- Instruments that can be traded. Keys are reused after expiry: identity is (instrument_key, expiry).
create table public.instruments (
    instrument_id integer generated always as identity,
    instrument_key text not null,
    segment text,
    name text,
    trading_symbol text,
    underlying_key text,
    instrument_type text,
    expiry date,
    strike double precision,
    lot_size integer,
    tick_size double precision,
    valid_from timestamptz not null default now(),
    valid_to timestamptz,
    constraint instruments_pkey primary key (instrument_id),
    constraint instruments_key_expiry_key unique nulls not distinct (instrument_key, expiry),
    constraint instruments_type_check check (instrument_type = upper(instrument_type) and instrument_type <> '')
);

create index instruments_trading_symbol_idx on public.instruments (upper(trading_symbol));
create index instruments_underlying_idx on public.instruments (underlying_key, instrument_type, expiry);
create index instruments_name_idx on public.instruments (upper(name));

comment on table public.instruments is 'what can be traded; a key that is reused after expiry is another instrument';
comment on column public.instruments.instrument_id is 'our number, never reused';
comment on column public.instruments.instrument_key is 'the vendor''s key, as NSE_FO|53001';
comment on column public.instruments.segment is 'market and kind, as NSE_FO';
comment on column public.instruments.name is 'company or index';
comment on column public.instruments.trading_symbol is 'what a trader types, as BANKNIFTY 59400 CE 30 DEC 25';
comment on column public.instruments.underlying_key is 'instrument_key of what a derivative is on';
comment on column public.instruments.instrument_type is 'EQ, FUT, CE, PE, INDEX or the exchange''s series; null: not known yet';
comment on column public.instruments.expiry is 'last day of trading, market-local date; null: none';
comment on column public.instruments.strike is 'rupees; options only';
comment on column public.instruments.lot_size is 'units in one lot';
comment on column public.instruments.tick_size is 'smallest step of the price, rupees (the vendor''s file has paise)';
comment on column public.instruments.valid_from is 'when we first knew it so';
comment on column public.instruments.valid_to is 'when the vendor''s list no longer held it; null: it does';
