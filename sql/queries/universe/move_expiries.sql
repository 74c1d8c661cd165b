-- Move the expiry of contracts that the exchange has moved, for example for a holiday; the contract stays the same and
-- its old terms are kept. It is the same contract if key, underlying, type and strike are equal, the old expiry has not
-- passed, and the new one is days away. Otherwise another contract uses the key after the old expiry.
-- Reads `master_rows`.
-- Parameters: known_at timestamptz, the day of the master; moved_within_days int4. Expect: few rows.
with moved as (
    select distinct on (instrument.instrument_key)
        instrument.instrument_id,
        instrument.trading_symbol,
        instrument.lot_size,
        instrument.tick_size,
        instrument.expiry as old_expiry,
        master.expiry as new_expiry
    from instruments as instrument
    inner join master_rows as master
        on
            master.instrument_key = instrument.instrument_key
            and master.instrument_type = instrument.instrument_type
            and master.underlying_key is not distinct from instrument.underlying_key
            and master.strike is not distinct from instrument.strike
    where
        instrument.expiry >= (%(known_at)s::timestamptz at time zone 'Asia/Kolkata')::date
        and master.expiry <> instrument.expiry
        and abs(master.expiry - instrument.expiry) <= %(moved_within_days)s::int4
        and not exists (
            select 1
            from instruments as known
            where
                known.instrument_key = master.instrument_key
                and known.expiry = master.expiry
        )
        and not exists (
            select 1
            from master_rows as unmoved
            where
                unmoved.instrument_key = instrument.instrument_key
                and unmoved.expiry = instrument.expiry
        )
    order by
        instrument.instrument_key,
        (instrument.valid_to is not null),
        abs(master.expiry - instrument.expiry)
),

kept as (
    insert into tickline.instrument_terms (instrument_id, trading_symbol, lot_size, tick_size, expiry)
    select
        instrument_id,
        trading_symbol,
        lot_size,
        tick_size,
        old_expiry
    from moved
    on conflict do nothing
)

update instruments as instrument
set expiry = moved.new_expiry
from moved
where instrument.instrument_id = moved.instrument_id
