-- Record the minutes touched by times when the feed was not received: the first and the last three of each time.
-- Parameters, arrays of one length: instrument_ids int4[]; started, ended timestamptz[]; gaps bool[] (false:
-- recording began or stopped there on purpose).
insert into unheard_minutes (instrument_id, bucket, quality)
select
    unheard.instrument_id,
    minutes.bucket,
    case when bool_or(unheard.is_gap) then 'gap' else 'partial' end
from
    unnest(%(instrument_ids)s::int4[], %(started)s::timestamptz[], %(ended)s::timestamptz[], %(gaps)s::bool[])
    as unheard (instrument_id, started_at, ended_at, is_gap)
cross join lateral (
    select tickline.bucket_1m(unheard.started_at) as bucket
    union
    select tickline.bucket_1m(unheard.ended_at) - minutes_before * interval '1 minute'
    from generate_series(0, 2) as minutes_before
    where tickline.bucket_1m(unheard.ended_at) - minutes_before * interval '1 minute' > unheard.started_at
) as minutes
group by unheard.instrument_id, minutes.bucket
on conflict (instrument_id, bucket) do update set quality = 'gap'
where excluded.quality = 'gap' and unheard_minutes.quality <> 'gap'
