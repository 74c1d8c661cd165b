-- Names that were underlyings with futures once: such a name is not mistyped, it has left the list.
-- Parameters: names text[], in upper case (a symbol such as INFY, or the key of an underlying); segments text[], such
-- as NSE_FO.
-- Columns: name text. Expect: one row for each such name, by a scan of the futures. Example: names = '{INFY}'
select distinct names.name
from unnest(%(names)s::text []) as names (name)
inner join instruments on
    instruments.segment = any(%(segments)s)
    and instruments.instrument_type = 'FUT'
    and names.name in (
        upper(split_part(instruments.trading_symbol, ' FUT ', 1)),
        upper(instruments.underlying_key)
    )
