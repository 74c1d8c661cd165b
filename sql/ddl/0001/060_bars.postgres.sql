-- One-minute and five-minute bars: stored below a watermark, computed above it.
-- `tickline.refresh_bars` moves the watermarks.
create table tickline.bar_watermarks (
    bars text not null,
    watermark timestamptz not null,
    constraint bar_watermarks_pkey primary key (bars)
);

insert into tickline.bar_watermarks (bars, watermark) values ('bars_1m', '-infinity'), ('bars_5m', '-infinity');

create table tickline.bars_1m_stored (
    instrument_id integer not null,
    bucket timestamptz not null,
    open double precision,
    high double precision,
    low double precision,
    close double precision,
    volume bigint,
    oi bigint,
    ticks bigint not null,
    trades bigint not null,
    iv double precision,
    delta double precision,
    gamma double precision,
    constraint bars_1m_stored_pkey primary key (instrument_id, bucket)
);

create table tickline.bars_5m_stored (
    like tickline.bars_1m_stored,
    constraint bars_5m_stored_pkey primary key (instrument_id, bucket)
);

create index bars_1m_stored_bucket_idx on tickline.bars_1m_stored (bucket);
create index bars_1m_stored_bucket_5m_idx on tickline.bars_1m_stored (instrument_id, tickline.bucket_5m(bucket));
create index bars_5m_stored_bucket_idx on tickline.bars_5m_stored (bucket);
