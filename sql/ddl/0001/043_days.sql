-- What was done with the ticks of a UTC day, which holds one NSE session (UTC midnight is 05:30 IST).
create table public.days (
    day date not null,
    reconciled_at timestamptz,
    exported_at timestamptz,
    exported_to text,
    exported_ticks bigint,
    dropped_at timestamptz,
    constraint days_pkey primary key (day),
    constraint days_exported_check check (num_nulls(exported_at, exported_to, exported_ticks) in (0, 3))
);

comment on table public.days is 'what was done with the ticks of a UTC day: the bars of a dropped day stay and are final';
comment on column public.days.day is 'UTC day';
comment on column public.days.reconciled_at is 'when its bars were last found to agree with the vendor''s and with the day''s volume; null: never';
comment on column public.days.exported_at is 'when its ticks were last written to Parquet; null: never';
comment on column public.days.exported_to is 'the file, on the machine that exported';
comment on column public.days.exported_ticks is 'rows of the file';
comment on column public.days.dropped_at is 'when its ticks were dropped; null: they are here';

-- Refreshing a range rebuilds its bars from the ticks: for a day whose ticks are dropped it would delete the bars, or
-- build them from a few late ticks. This trigger on the tables that hold bars keeps such a day unchanged, whoever
-- refreshes: this program, a policy, or a DBA by hand.
create function tickline.keep_final_bars() returns trigger
language plpgsql
as $$
declare
    bar_day constant date := (case tg_op when 'DELETE' then old.bucket else new.bucket end at time zone 'UTC')::date;
begin
    if exists (select from public.days where day = bar_day and dropped_at is not null) then
        return null;
    end if;
    return case tg_op when 'DELETE' then old else new end;
end
$$;
