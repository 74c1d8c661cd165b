-- Minutes of instruments that were not completely received. Expect: few rows.
-- Parameters: instrument_ids int4[], null for all; start, end timestamptz, half-open, of the bucket ('-infinity', 'infinity').
-- Columns: instrument_id, bucket; is_gap bool: true: a gap, false: partial.
-- Example: instrument_ids => '{1,2}', start => '2025-12-15 03:45+00', end => '2025-12-15 10:00+00'
select
    instrument_id,
    bucket,
    quality = 'gap' as is_gap
from unheard_minutes
where
    (%(instrument_ids)s::int4[] is null or instrument_id = any(%(instrument_ids)s::int4[]))
    and bucket >= %(start)s
    and bucket < %(end)s
