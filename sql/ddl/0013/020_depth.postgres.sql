-- Depth partitioned by UTC day, as ticks are. A partition is made by the first writer with depth on its day.
create table public.depth (like tickline.depth_template including comments) partition by range (ts);

create index depth_instrument_id_ts_idx on public.depth (instrument_id, ts desc);

-- Create the partition of a day unless it exists. Reads the catalog, not `to_regclass`, which may answer from the
-- session's cache. Two sessions may call it at once.
create function tickline.ensure_depth_day(day date) returns void
language plpgsql
as $$
declare
    name constant text := to_char(day, '"depth_"YYYYMMDD');
begin
    if exists (select from pg_class where relnamespace = 'tickline'::regnamespace and relname = name) then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('tickline.ensure_depth_day', 0));
    if exists (select from pg_class where relnamespace = 'tickline'::regnamespace and relname = name) then
        return;
    end if;
    execute format('create table tickline.%I (like public.depth including constraints)', name);
    execute format(
        'alter table public.depth attach partition tickline.%I for values from (%L) to (%L)',
        name,
        day::timestamp at time zone 'UTC',
        (day + 1)::timestamp at time zone 'UTC'
    );
end
$$;

-- Drop the depth of a day, without any check.
create function tickline.drop_depth_day(day date) returns void
language plpgsql
as $$
begin
    execute format('drop table if exists tickline.%I', to_char(day, '"depth_"YYYYMMDD'));
end
$$;
