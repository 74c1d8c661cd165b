-- Instruments that have minute bars in a range. Expect: a few thousand rows.
-- Parameters: start, end timestamptz, half-open, of the bucket.
-- Columns: instrument_id, instrument_key, trading_symbol.
with traded as (
    select distinct instrument_id
    from best_bars_1m
    where
        bucket >= %(start)s
        and bucket < %(end)s
)

select
    instrument_id,
    instrument_key,
    trading_symbol
from traded
inner join instruments using (instrument_id)
order by instrument_key, instrument_id
