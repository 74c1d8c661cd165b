-- Store detected signals, one for each instrument, minute and rule set; a signal found again replaces its figures.
-- New signals are sent to listeners of tickline_signals. Expect: a few rows.
-- Parameters, arrays of one length: instrument_ids int4[]; buckets timestamptz[]; directions text[];
-- confidences, scores, prices (rupees) float8[]; reasons text[] (JSON); and rule_set text.
-- Columns: instrument_id, bucket of the new ones.
with written as (
    insert into signals (instrument_id, bucket, rule_set, direction, confidence, score, price, reasons)
    select
        instrument_id,
        bucket,
        %(rule_set)s,
        direction,
        confidence,
        score,
        price,
        reasons::jsonb
    from
        unnest(
            %(instrument_ids)s::int4[], %(buckets)s::timestamptz[], %(directions)s::text[], %(confidences)s::float8[],
            %(scores)s::float8[], %(prices)s::float8[], %(reasons)s::text[]
        ) as found (instrument_id, bucket, direction, confidence, score, price, reasons)
    on conflict (instrument_id, bucket, rule_set) do update
    set direction = excluded.direction,
        confidence = excluded.confidence,
        score = excluded.score,
        price = excluded.price,
        reasons = excluded.reasons
    returning
        instrument_id,
        bucket,
        rule_set,
        direction,
        confidence,
        price,
        (xmax = 0) as is_new
),

told as (
    select
        instrument_id,
        bucket,
        pg_notify(
            'tickline_signals',
            json_build_object(
                'instrument_id', instrument_id, 'bucket', bucket, 'rule_set', rule_set,
                'direction', direction, 'confidence', confidence, 'price', price
            )::text
        ) as notified
    from written
    where is_new
)

select
    instrument_id,
    bucket
from told
where notified is not null
