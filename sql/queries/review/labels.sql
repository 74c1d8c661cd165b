-- Labels, by instrument and time. Expect: a row per labelled event.
-- Parameters: instrument_ids int4[], null: all; start, end timestamptz, half-open, of the bucket.
-- Columns: instrument_id int4; instrument_key, trading_symbol text; bucket timestamptz; verdict, note text;
-- labelled_at timestamptz; labelled_by text.
select
    labels.instrument_id,
    instruments.instrument_key,
    instruments.trading_symbol,
    labels.bucket,
    labels.verdict,
    labels.note,
    labels.labelled_at,
    labels.labelled_by
from labels
inner join instruments on labels.instrument_id = instruments.instrument_id
where
    labels.bucket >= %(start)s
    and labels.bucket < %(end)s
    and (%(instrument_ids)s::int4[] is null or labels.instrument_id = any(%(instrument_ids)s::int4[]))
order by
    instruments.instrument_key,
    labels.bucket
