-- UTC days with a partition of `ticks`.
create function tickline.tick_days() returns setof date
language sql stable
begin atomic
select to_date(right(pg_class.relname, 8), 'YYYYMMDD')
from pg_inherits
inner join pg_class on pg_class.oid = pg_inherits.inhrelid
where pg_inherits.inhparent = 'public.ticks'::regclass;
end;

-- Block writers to a day until the transaction ends; readers continue.
create function tickline.lock_day(day date) returns void
language plpgsql
as $$
begin
    execute format('lock table tickline.%I in share mode', to_char(day, '"ticks_"YYYYMMDD'));
end
$$;

-- Drop the ticks of a day without any check: `tickline db retain` checks whether they may be dropped.
create function tickline.drop_day(day date) returns void
language plpgsql
as $$
begin
    execute format('drop table tickline.%I', to_char(day, '"ticks_"YYYYMMDD'));
end
$$;
