-- Make stored bars visible: they are read only below the watermark, and only a refresh that makes a bar moves it,
-- behind the newest bar from the refreshed bucket on. After the upgrade to this revision no bar is below it, and there
-- may be no ticks left to make one from. So a tick of no instrument, on a day long ago, exists for a moment.
-- Does nothing if bars are visible. Call it outside a transaction.
create procedure tickline.show_kept_bars()
language plpgsql
as $$
declare
    long_ago constant timestamptz := '2000-01-01 00:00:00+00';
    name text;
    kept_in regclass;
    last_bucket timestamptz;
    is_hidden boolean := exists (select from public.ticks where ts = long_ago);  -- it was killed in the midst
begin
    foreach name in array array['bars_1m', 'bars_5m']
    loop
        select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) into strict kept_in
        from timescaledb_information.continuous_aggregates
        where view_schema = 'public' and view_name = name;
        execute format('select max(bucket) from %s', kept_in) into last_bucket;
        is_hidden := is_hidden or coalesce(tickline.bar_watermark(name) <= last_bucket, false);
    end loop;
    if not is_hidden then
        return;
    end if;
    insert into public.ticks (ts, instrument_id, seq, traded, received_at) values (long_ago, 0, 0, true, long_ago);
    commit;
    call refresh_continuous_aggregate('public.bars_1m', long_ago, long_ago + interval '5 minutes');
    call refresh_continuous_aggregate('public.bars_5m', long_ago, long_ago + interval '5 minutes');
    perform tickline.drop_day('2000-01-01');
    commit;
    call refresh_continuous_aggregate('public.bars_1m', long_ago, long_ago + interval '5 minutes');
    call refresh_continuous_aggregate('public.bars_5m', long_ago, long_ago + interval '5 minutes');
end
$$;
