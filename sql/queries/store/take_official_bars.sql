-- Store official bars from the feed, each once: a bar from the feed replaces one from REST, and of two from the feed
-- the first stays.
-- Parameters, arrays of one length: instrument_ids int4[]; buckets timestamptz[]; open, high, low, close
-- float8[] (rupees); volumes int8[] (units; null: an index); received timestamptz[].
insert into official_bars_1m (
    instrument_id, bucket, open, high, low, close, volume, source, received_at
)
select
    instrument_id,
    bucket,
    open,
    high,
    low,
    close,
    volume,
    'I1',
    received_at
from
    unnest(
        %(instrument_ids)s::int4[], %(buckets)s::timestamptz[], %(open)s::float8[], %(high)s::float8[],
        %(low)s::float8[], %(close)s::float8[], %(volumes)s::int8[], %(received)s::timestamptz[]
    ) as bars (instrument_id, bucket, open, high, low, close, volume, received_at)
on conflict (instrument_id, bucket) do update
set open = excluded.open,
    high = excluded.high,
    low = excluded.low,
    close = excluded.close,
    volume = excluded.volume,
    source = excluded.source,
    received_at = excluded.received_at
where official_bars_1m.source <> 'I1'
