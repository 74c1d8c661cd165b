-- Time below which the bars of a view are stored, not computed.
create function tickline.bar_watermark(bars text) returns timestamptz
language sql stable
begin atomic
select bar_watermarks.watermark from tickline.bar_watermarks where bar_watermarks.bars = bar_watermark.bars;
end;

-- Rebuild the bars that [from_ts, to_ts) touches from the ticks, one-minute then five-minute, and
-- move the watermarks up to, never beyond, to_ts: a bucket that still forms stays computed.
-- Call it outside a transaction, as on the other engine. Two calls at once take turns.
create procedure tickline.refresh_bars(from_ts timestamptz, to_ts timestamptz)
language plpgsql
as $$
declare
    current_watermark timestamptz;
    from_bucket timestamptz;
    to_bucket timestamptz;
begin
    select watermark into current_watermark from tickline.bar_watermarks where bars = 'bars_1m' for update;
    -- From the watermark on when the range is beyond it: nothing between may be skipped.
    from_bucket := tickline.bucket_1m(least(from_ts, current_watermark));
    to_bucket := least(
        tickline.bucket_1m(to_ts + interval '1 minute' - interval '1 microsecond'),
        greatest(current_watermark, tickline.bucket_1m(to_ts))
    );
    delete from tickline.bars_1m_stored where bucket >= from_bucket and bucket < to_bucket;
    insert into tickline.bars_1m_stored
    select bars.* from tickline.compute_bars_1m(from_bucket, to_bucket) as bars;
    update tickline.bar_watermarks
    set watermark = greatest(
        current_watermark,
        (
            select max(bucket) + interval '1 minute'
            from tickline.bars_1m_stored
            where bucket >= from_bucket and bucket < to_bucket
        )
    )
    where bars = 'bars_1m';

    select watermark into current_watermark from tickline.bar_watermarks where bars = 'bars_5m' for update;
    from_bucket := tickline.bucket_5m(least(from_ts, current_watermark));
    to_bucket := least(
        tickline.bucket_5m(to_ts + interval '5 minutes' - interval '1 microsecond'),
        greatest(current_watermark, tickline.bucket_5m(to_ts))
    );
    delete from tickline.bars_5m_stored where bucket >= from_bucket and bucket < to_bucket;
    insert into tickline.bars_5m_stored
    select bars.* from tickline.compute_bars_5m(from_bucket, to_bucket) as bars;
    update tickline.bar_watermarks
    set watermark = greatest(
        current_watermark,
        (
            select max(bucket) + interval '5 minutes'
            from tickline.bars_5m_stored
            where bucket >= from_bucket and bucket < to_bucket
        )
    )
    where bars = 'bars_5m';
end
$$;
