-- Time below which the bars of a view are stored, not computed.
create function tickline.bar_watermark(bars text) returns timestamptz
language sql stable
begin atomic
select coalesce(
    (
        select _timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(hypertable.id))
        from timescaledb_information.continuous_aggregates as view
        inner join _timescaledb_catalog.hypertable
            on hypertable.schema_name = view.materialization_hypertable_schema
            and hypertable.table_name = view.materialization_hypertable_name
        where view.view_schema = 'public' and view.view_name = bars
    ),
    '-infinity'
);
end;

-- Rebuild the bars that [from_ts, to_ts) touches from the ticks, one-minute then five-minute, and
-- move the watermarks up to, never beyond, to_ts: a bucket that still forms stays computed.
-- Call it outside a transaction, because each refresh has its own transactions.
create procedure tickline.refresh_bars(from_ts timestamptz, to_ts timestamptz)
language plpgsql
as $$
declare
    watermark timestamptz;
    from_bucket timestamptz;
    to_bucket timestamptz;
begin
    watermark := tickline.bar_watermark('bars_1m');
    -- From the watermark on when the range is beyond it: nothing between may be skipped.
    from_bucket := tickline.bucket_1m(least(from_ts, watermark));
    to_bucket := least(
        tickline.bucket_1m(to_ts + interval '1 minute' - interval '1 microsecond'),
        greatest(watermark, tickline.bucket_1m(to_ts))
    );
    if from_bucket < to_bucket then
        call refresh_continuous_aggregate('public.bars_1m', from_bucket, to_bucket);
    end if;

    watermark := tickline.bar_watermark('bars_5m');
    from_bucket := tickline.bucket_5m(least(from_ts, watermark));
    to_bucket := least(
        tickline.bucket_5m(to_ts + interval '5 minutes' - interval '1 microsecond'),
        greatest(watermark, tickline.bucket_5m(to_ts))
    );
    if from_bucket < to_bucket then
        call refresh_continuous_aggregate('public.bars_5m', from_bucket, to_bucket);
    end if;
end
$$;
