-- Ticks partitioned by UTC day, which holds one NSE session (UTC midnight is 05:30 IST).
create table public.ticks (like tickline.tick_template including comments) partition by range (ts);

create index ticks_instrument_id_ts_idx on public.ticks (instrument_id, ts desc);

-- Days of a range without a partition. Reads the catalog, not `to_regclass`, which may answer from the session's
-- cache: waiting for an advisory lock does not refresh that cache.
create function tickline.days_without_partition(first_day date, last_day date) returns setof date
language sql stable
begin atomic
select first_day + n
from generate_series(0, last_day - first_day) as n
where not exists (
    select
    from pg_class
    where relnamespace = 'tickline'::regnamespace
        and relname = to_char(first_day + n, '"ticks_"YYYYMMDD')
);
end;

-- Create the partitions of the days from first_ts to last_ts; return the number of new ones.
-- Two sessions may call it at once. Readers and writers of other days do not wait: attaching takes
-- a weaker lock than `create table ... partition of`.
create function tickline.ensure_partitions(first_ts timestamptz, last_ts timestamptz) returns integer
language plpgsql
as $$
declare
    first_day constant date := (first_ts at time zone 'UTC')::date;
    last_day constant date := (last_ts at time zone 'UTC')::date;
    made integer := 0;
    missing_day date;
    name text;
begin
    if last_day - first_day > 4000 then
        raise exception 'partitions for % days asked for: the limit is 4000', last_day - first_day
            using errcode = 'program_limit_exceeded';
    end if;
    -- Most calls find every partition there and take no lock. The others look again under it.
    if not exists (select from tickline.days_without_partition(first_day, last_day)) then
        return 0;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('tickline.ensure_partitions', 0));
    for missing_day in select day from tickline.days_without_partition(first_day, last_day) as day
    loop
        name := to_char(missing_day, '"ticks_"YYYYMMDD');
        execute format('create table tickline.%I (like public.ticks including constraints)', name);
        execute format(
            'alter table public.ticks attach partition tickline.%I for values from (%L) to (%L)',
            name,
            missing_day::timestamp at time zone 'UTC',
            (missing_day + 1)::timestamp at time zone 'UTC'
        );
        made := made + 1;
    end loop;
    return made;
end
$$;
