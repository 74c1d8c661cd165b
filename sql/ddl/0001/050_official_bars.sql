-- The vendor's own minute bars.
create table public.official_bars_1m (
    instrument_id integer not null,
    bucket timestamptz not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume bigint,
    oi bigint,
    source text not null,
    received_at timestamptz not null default now(),
    constraint official_bars_1m_pkey primary key (instrument_id, bucket),
    constraint official_bars_1m_source_check check (source in ('I1', 'ohlc', 'intraday', 'historical'))
);

comment on table public.official_bars_1m is 'the vendor''s own minute bars';
comment on column public.official_bars_1m.instrument_id is 'of instruments';
comment on column public.official_bars_1m.bucket is 'start of the minute';
comment on column public.official_bars_1m.open is 'rupees';
comment on column public.official_bars_1m.high is 'rupees';
comment on column public.official_bars_1m.low is 'rupees';
comment on column public.official_bars_1m.close is 'rupees';
comment on column public.official_bars_1m.volume is 'units';
comment on column public.official_bars_1m.oi is 'open interest at the end, units; null: not sent';
comment on column public.official_bars_1m.source is 'I1: the feed''s candle; ohlc, intraday, historical: the REST call';
comment on column public.official_bars_1m.received_at is 'when it reached us, our clock';
