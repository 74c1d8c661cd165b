-- Which living derivatives of an index have not ticked for five minutes of the market's time?
select instrument.trading_symbol, tick.ts, newest.ts - tick.ts as silent_for
from instruments as instrument
inner join latest_ticks as tick using (instrument_id)
cross join (select max(future.ts) as ts from latest_ticks as future where future.instrument_id = instrument('NIFTY FUT'))
    as newest
where
    instrument.underlying_key = (select spot.instrument_key from instruments as spot where spot.instrument_id = instrument('NIFTY'))
    and instrument.instrument_type in ('CE', 'PE', 'FUT')
    and instrument.expiry >= current_date
    and tick.ts < newest.ts - interval '5 minutes'
order by tick.ts
