-- An empty continuous aggregate has a watermark before all times, from which nothing can be subtracted.
create or replace function tickline.newest_minute() returns timestamptz
language sql stable
return (
    select max(bucket)
    from public.bars_1m
    where bucket >= greatest(tickline.bar_watermark('bars_1m'), '1970-01-02 00:00+00') - interval '1 minute'
);
