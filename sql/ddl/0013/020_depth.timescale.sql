-- Depth as a hypertable with the chunks of ticks.
create table public.depth (like tickline.depth_template including comments);

select create_hypertable('public.depth', by_range('ts', interval '1 day'), create_default_indexes => false);

create index depth_instrument_id_ts_idx on public.depth (instrument_id, ts desc);

alter table public.depth set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'instrument_id',
    timescaledb.orderby = 'ts, seq'
);

call add_columnstore_policy('public.depth', after => interval '1 day');

-- TimescaleDB creates chunks itself; the function exists so that a writer calls the same on both engines.
create function tickline.ensure_depth_day(day date) returns void
language sql
return null;

-- Drop the depth of a day, without any check.
create function tickline.drop_depth_day(day date) returns void
language sql
begin atomic
select drop_chunks(
    'public.depth',
    newer_than => day::timestamp at time zone 'UTC',
    older_than => (day + 1)::timestamp at time zone 'UTC'
);
end;
