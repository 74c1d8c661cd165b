-- Signals of one instrument from a time on.
-- Expect: a few rows.
-- Parameters: instrument_id int4; since timestamptz.
-- Columns: bucket (start of the minute that shows it), direction, confidence (0 to 1), price (rupees), reason in words.
select
    bucket,
    direction,
    confidence,
    price,
    reasons ->> 'text' as reason
from signals
where instrument_id = %(instrument_id)s and bucket >= %(since)s
order by bucket
