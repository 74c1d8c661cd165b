-- UTC days with a chunk of `ticks`.
create function tickline.tick_days() returns setof date
language sql stable
begin atomic
select (range_start at time zone 'UTC')::date
from timescaledb_information.chunks
where hypertable_schema = 'public' and hypertable_name = 'ticks';
end;

-- Block writers to a day until the transaction ends; readers continue.
create function tickline.lock_day(day date) returns void
language plpgsql
as $$
declare
    chunk regclass;
begin
    for chunk in
        select show_chunks(
            'public.ticks',
            newer_than => day::timestamp at time zone 'UTC',
            older_than => (day + 1)::timestamp at time zone 'UTC'
        )
    loop
        execute format('lock table %s in share mode', chunk);
    end loop;
end
$$;

-- Drop the ticks of a day without any check: `tickline db retain` checks whether they may be dropped.
create function tickline.drop_day(day date) returns void
language sql
begin atomic
select drop_chunks(
    'public.ticks',
    newer_than => day::timestamp at time zone 'UTC',
    older_than => (day + 1)::timestamp at time zone 'UTC'
);
end;
