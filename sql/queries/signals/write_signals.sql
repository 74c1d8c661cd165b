-- Store detected signals, one for each instrument, minute and rule set; a signal found again replaces its figures,
-- severity and members; if its price is another one, its outcomes are forgotten. New signals are sent to listeners of
-- tickline_signals. Expect: a few rows.
-- Parameters, arrays of one length: instrument_ids int4[]; buckets timestamptz[]; directions text[];
-- confidences, scores, prices (rupees) float8[]; reasons text[] (JSON); severities text[], members text[] (JSON), null
-- where there are none; and rule_set text.
-- Columns: instrument_id, bucket of the new ones.
with written as (
    insert into signals (
        instrument_id, bucket, rule_set, direction, confidence, score, price, reasons, severity, members
    )
    select
        instrument_id,
        bucket,
        %(rule_set)s,
        direction,
        confidence,
        score,
        price,
        reasons::jsonb,
        severity,
        members::jsonb
    from
        unnest(
            %(instrument_ids)s::int4[], %(buckets)s::timestamptz[], %(directions)s::text[], %(confidences)s::float8[],
            %(scores)s::float8[], %(prices)s::float8[], %(reasons)s::text[],
            %(severities)s::text[], %(members)s::text[]
        ) as found (instrument_id, bucket, direction, confidence, score, price, reasons, severity, members)
    on conflict (instrument_id, bucket, rule_set) do update
    set direction = excluded.direction,
        confidence = excluded.confidence,
        score = excluded.score,
        price = excluded.price,
        reasons = excluded.reasons,
        severity = excluded.severity,
        members = excluded.members,
        after_5m = case when signals.price = excluded.price then signals.after_5m end,
        after_15m = case when signals.price = excluded.price then signals.after_15m end,
        after_60m = case when signals.price = excluded.price then signals.after_60m end
    returning
        instrument_id,
        bucket,
        rule_set,
        direction,
        confidence,
        price,
        severity,
        coalesce(jsonb_array_length(members), 0) as members,
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
                'direction', direction, 'confidence', confidence, 'price', price,
                'severity', severity, 'members', members
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
