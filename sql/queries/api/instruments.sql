-- A page of instruments, by id. Parameters: after int4 (instrument_id of the last one had); instrument_keys text[],
-- spelling text (part of a symbol, or beginning of a name, in upper case without spaces), segment, instrument_type,
-- underlying_key text, each null: any; on date (market-local), null: expired ones too; rows_max int4.
-- Columns: those of an instrument. Expect: at most rows_max rows; one look-up by key, otherwise a scan of the list.
-- Example: after => 0, instrument_keys => null, spelling => 'NIFTY', segment => 'NSE_FO', instrument_type => 'FUT',
-- underlying_key => null, on => '2025-12-15', rows_max => 100
select
    instrument_id,
    instrument_key,
    trading_symbol as symbol,
    name,
    segment,
    instrument_type,
    underlying_key,
    expiry,
    strike,
    lot_size,
    tick_size
from instruments
where
    instrument_id > %(after)s
    and (%(instrument_keys)s::text[] is null or instrument_key = any(%(instrument_keys)s::text[]))
    and (%(segment)s::text is null or segment = %(segment)s)
    and (%(instrument_type)s::text is null or instrument_type = %(instrument_type)s)
    and (%(underlying_key)s::text is null or underlying_key = %(underlying_key)s)
    and (
        %(spelling)s::text is null
        or strpos(replace(upper(trading_symbol), ' ', ''), %(spelling)s) > 0
        or starts_with(replace(upper(name), ' ', ''), %(spelling)s)
    )
    and (
        %(on)s::date is null
        or (coalesce(expiry >= %(on)s, true) and valid_to is null)
    )
order by instrument_id
limit %(rows_max)s
