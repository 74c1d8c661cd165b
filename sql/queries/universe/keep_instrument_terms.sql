-- Keep the old terms that `master_rows` is about to change. A term that was unknown before is no change.
-- Expect: few rows; thousands on a day when lots are revised.
insert into tickline.instrument_terms (instrument_id, trading_symbol, lot_size, tick_size, expiry)
select distinct
    instrument.instrument_id,
    instrument.trading_symbol,
    instrument.lot_size,
    instrument.tick_size,
    instrument.expiry
from instruments as instrument
inner join master_rows as master
    on
        master.instrument_key = instrument.instrument_key
        and coalesce(master.expiry, 'infinity') = coalesce(instrument.expiry, 'infinity')
where
    instrument.trading_symbol <> master.trading_symbol
    or instrument.lot_size <> master.lot_size
    or instrument.tick_size <> master.tick_size
on conflict do nothing
