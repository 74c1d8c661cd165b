-- Instruments and days to repair: those with minutes that were not completely received, most hidden volume first.
-- Parameters: start, end timestamptz, half-open; instrument_ids int4[], null: all.
-- Columns: instrument_id int4, instrument_key text, day date (market-local), last_day date (after it the key means
-- another instrument, none, or is uncertain), first_bucket, last_bucket timestamptz, minutes int8.
-- The key of a contract without a name is certain only on the day itself, because it may have expired since.
-- If an instrument left the list and the list gives its key to another, last_day is the day before it left.
with minutes as (
    select
        instrument_id,
        (bucket at time zone 'Asia/Kolkata')::date as day,
        min(bucket) as first_bucket,
        max(bucket) as last_bucket,
        count(*) as minutes
    from unheard_minutes
    where
        bucket >= %(start)s
        and bucket < %(end)s
        and (%(instrument_ids)s::int4[] is null or instrument_id = any(%(instrument_ids)s::int4[]))
    group by 1, 2
),

hidden as (
    select
        instrument_id,
        (ended_at at time zone 'Asia/Kolkata')::date as day,
        sum(volume) as volume
    from feed_gaps
    where ended_at >= %(start)s and ended_at < %(end)s
    group by 1, 2
)

select
    minutes.instrument_id,
    instruments.instrument_key,
    minutes.day,
    case
        when instruments.instrument_type is null and instruments.expiry is null and instruments.segment ~ '_(FO|COM)$'
            then minutes.day
        when
            instruments.valid_to is not null and exists (
                select from instruments as other
                where
                    other.instrument_key = instruments.instrument_key
                    and other.instrument_id <> instruments.instrument_id
                    and other.valid_to is null
            )
            then least(instruments.expiry, (instruments.valid_to at time zone 'Asia/Kolkata')::date - 1)
        else instruments.expiry
    end as last_day,
    minutes.first_bucket,
    minutes.last_bucket,
    minutes.minutes
from minutes
inner join instruments on instruments.instrument_id = minutes.instrument_id
left join hidden on hidden.instrument_id = minutes.instrument_id and hidden.day = minutes.day
order by hidden.volume desc nulls last, minutes.minutes desc, minutes.instrument_id
