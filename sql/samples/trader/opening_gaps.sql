-- Which shares opened furthest from yesterday's close?
select
    instrument.trading_symbol,
    tick.prev_close,
    tick.day_open,
    100 * (tick.day_open / tick.prev_close - 1) as gap_pct
from latest_ticks as tick
inner join instruments as instrument using (instrument_id)
where instrument.segment = 'NSE_EQ' and tick.ts >= last_session() and tick.prev_close > 0
order by abs(tick.day_open / tick.prev_close - 1) desc nulls last
limit 20
