-- What traders call instruments that have not ticked yet.
-- Expect: a row per key that is known, by the index of instrument_key.
-- Parameters: instrument_keys text[].
-- Columns: instrument_key, trading_symbol.
select distinct on (instrument_key)
    instrument_key,
    coalesce(trading_symbol, instrument_key) as trading_symbol
from instruments
where instrument_key = any(%(instrument_keys)s)
order by instrument_key, expiry desc nulls first
