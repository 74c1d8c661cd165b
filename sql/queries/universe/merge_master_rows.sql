-- Merge `master_rows` into `instruments`: update changed rows and add new ones.
-- Parameters: known_at timestamptz, the day of the master.
-- Expect: 80,000 rows, seconds; no lock that delays readers.
merge into instruments as instrument
using (
    select distinct on (instrument_key, expiry)
        instrument_key,
        segment,
        name,
        trading_symbol,
        underlying_key,
        instrument_type,
        expiry,
        strike,
        lot_size,
        tick_size
    from master_rows
    order by instrument_key, expiry
) as master
    on
        instrument.instrument_key = master.instrument_key
        and coalesce(instrument.expiry, 'infinity') = coalesce(master.expiry, 'infinity')
when matched and (
    instrument.valid_from > %(known_at)s,
    instrument.segment, instrument.name, instrument.trading_symbol, instrument.underlying_key,
    instrument.instrument_type, instrument.strike, instrument.lot_size, instrument.tick_size, instrument.valid_to
) is distinct from (
    false,
    master.segment, master.name, master.trading_symbol, master.underlying_key,
    master.instrument_type, master.strike, master.lot_size, master.tick_size, null::timestamptz
) then update set
    segment = master.segment,
    name = master.name,
    trading_symbol = master.trading_symbol,
    underlying_key = master.underlying_key,
    instrument_type = master.instrument_type,
    strike = master.strike,
    lot_size = master.lot_size,
    tick_size = master.tick_size,
    valid_from = least(instrument.valid_from, %(known_at)s),
    valid_to = null
when not matched then insert (
    instrument_key, segment, name, trading_symbol, underlying_key,
    instrument_type, expiry, strike, lot_size, tick_size, valid_from
)
values (
    master.instrument_key, master.segment, master.name, master.trading_symbol, master.underlying_key,
    master.instrument_type, master.expiry, master.strike, master.lot_size, master.tick_size,
    %(known_at)s
)
