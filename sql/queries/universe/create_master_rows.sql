-- Temporary table for the rows of a master file while they are merged; dropped with the transaction.
create temporary table master_rows (
    instrument_key text not null,
    segment text,
    name text,
    trading_symbol text,
    underlying_key text,
    instrument_type text,
    expiry date,
    strike float8,
    lot_size int4,
    tick_size float8
) on commit drop
