-- When was the feed not received today, and is it repaired?
select
    gap.started_at,
    gap.ended_at - gap.started_at as lasted,
    gap.reason,
    instrument.trading_symbol,
    gap.volume,
    gap.repaired_at
from feed_gaps as gap
left join instruments as instrument using (instrument_id)
where gap.started_at >= last_session()
order by gap.started_at
