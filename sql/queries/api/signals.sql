-- A page of signals, newest minute first. By the index on bucket. Parameters: instrument_keys text[], null: all; start,
-- end timestamptz, half-open, of the bucket; skip, rows_max int4.
-- Columns: instrument_key, symbol text; bucket timestamptz; rule_set, direction text; confidence, score, price float8
-- (rupees); reasons jsonb; after_5m, after_15m, after_60m float8; created_at timestamptz; severity text; members jsonb.
-- Expect: at most rows_max rows.
-- Example: instrument_keys => null, start => '2025-12-15', end => '2025-12-16', skip => 0, rows_max => 100
select
    instruments.instrument_key,
    instruments.trading_symbol as symbol,
    signals.bucket,
    signals.rule_set,
    signals.direction,
    signals.confidence,
    signals.score,
    signals.price,
    signals.reasons,
    signals.after_5m,
    signals.after_15m,
    signals.after_60m,
    signals.created_at,
    signals.severity,
    signals.members
from signals
inner join instruments on signals.instrument_id = instruments.instrument_id
where
    signals.bucket >= %(start)s
    and signals.bucket < %(end)s
    and (%(instrument_keys)s::text[] is null or instruments.instrument_key = any(%(instrument_keys)s::text[]))
order by
    signals.bucket desc,
    instruments.instrument_key,
    signals.rule_set
offset %(skip)s
limit %(rows_max)s
