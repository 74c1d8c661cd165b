-- Ticks as a hypertable: a chunk of one UTC day holds one NSE session (UTC midnight is 05:30 IST).
create table public.ticks (like tickline.tick_template including comments);

select create_hypertable('public.ticks', by_range('ts', interval '1 day'), create_default_indexes => false);

-- The only index: even this one halves the speed of COPY.
create index ticks_instrument_id_ts_idx on public.ticks (instrument_id, ts desc);

alter table public.ticks set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'instrument_id',
    timescaledb.orderby = 'ts, seq'
);

-- A day after its end a session is complete and repaired.
call add_columnstore_policy('public.ticks', after => interval '1 day');

-- TimescaleDB creates chunks itself; the function exists so that a writer calls the same on both engines.
create function tickline.ensure_partitions(first_ts timestamptz, last_ts timestamptz) returns integer
language sql
return 0;
