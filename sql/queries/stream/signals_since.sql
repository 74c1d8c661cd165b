-- Signals of minutes from a time on that were found after a time, oldest first. By the index on bucket.
-- Parameters: instrument_keys text[], null: all; since timestamptz, of the bucket; created_after timestamptz; rows_max int4.
-- Columns: instrument_key, trading_symbol text; bucket timestamptz; rule_set, direction text; confidence, score, price
-- float8 (rupees); reasons jsonb; created_at timestamptz; severity text; members jsonb.
-- Expect: some rows.
-- Example: instrument_keys => null, since => '2025-12-15', created_after => '2025-12-15 05:00+00', rows_max => 100
select
    instruments.instrument_key,
    instruments.trading_symbol,
    signals.bucket,
    signals.rule_set,
    signals.direction,
    signals.confidence,
    signals.score,
    signals.price,
    signals.reasons,
    signals.created_at,
    signals.severity,
    signals.members
from signals
inner join instruments on signals.instrument_id = instruments.instrument_id
where
    signals.bucket >= %(since)s
    and signals.created_at > %(created_after)s
    and (%(instrument_keys)s::text[] is null or instruments.instrument_key = any(%(instrument_keys)s::text[]))
order by
    signals.created_at,
    signals.bucket,
    instruments.instrument_key
limit %(rows_max)s
