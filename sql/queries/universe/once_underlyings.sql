-- Which names were underlyings with futures once: such a name is no slip of the pen, it has left the list.
-- Parameters: names text[], in upper case (a symbol, as INFY, or an underlying's key); segments text[], as NSE_FO.
-- Columns: name text. Expect: one row for each that was, by a scan of the futures. Example: names = '{INFY}'
select distinct names.name
from unnest(%(names)s::text []) as names (name)
inner join instruments on
    instruments.segment = any(%(segments)s)
    and instruments.instrument_type = 'FUT'
    and names.name in (
        upper(split_part(instruments.trading_symbol, ' FUT ', 1)),
        upper(instruments.underlying_key)
    )
