-- Which spikes were found in the newest session, how severe are they, what fired with them, and what followed?
select
    signals.bucket,
    instruments.trading_symbol,
    signals.direction,
    round(signals.confidence::numeric, 2) as confidence,
    signals.severity,
    coalesce(jsonb_array_length(signals.members), 0) as members,
    round(100 * signals.after_15m::numeric, 2) as after_15m_pct,
    labels.verdict,
    signals.reasons ->> 'text' as reasons
from signals
inner join instruments using (instrument_id)
left join labels using (instrument_id, bucket)
where signals.bucket >= last_session()
order by signals.bucket desc, signals.confidence desc
