-- Futures and options that trade on a day, by the newest master.
-- Parameters: on date (market-local); segments text[], such as NSE_FO.
-- Columns: instrument_key text, instrument_type text, trading_symbol text, underlying_key text, expiry date,
-- strike float8 (rupees). Expect: 40,000 rows.
select
    instrument_key,
    instrument_type,
    trading_symbol,
    underlying_key,
    expiry,
    strike
from instruments
where
    segment = any(%(segments)s)
    and instrument_type in ('FUT', 'CE', 'PE')
    and expiry >= %(on)s
    and underlying_key is not null
    and valid_to is null
