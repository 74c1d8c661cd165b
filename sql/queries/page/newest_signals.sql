-- The newest signals of all instruments, newest first.
-- Expect: at most as many rows as asked for, by the index of bucket.
-- Parameters: most, how many rows at most.
-- Columns: instrument_id, trading_symbol, bucket (start of the minute that shows it), rule_set, direction, confidence
-- (0 to 1), price (rupees), reason in words, after_5m, after_15m, after_60m (fraction that the price moved since),
-- severity, members (number of other instruments that fired with it), names of the members in words.
select
    signals.instrument_id,
    coalesce(instruments.trading_symbol, instruments.instrument_key) as trading_symbol,
    signals.bucket,
    signals.rule_set,
    signals.direction,
    signals.confidence,
    signals.price,
    signals.reasons ->> 'text' as reason,
    signals.after_5m,
    signals.after_15m,
    signals.after_60m,
    signals.severity,
    coalesce(jsonb_array_length(signals.members), 0) as members,
    array_to_string(array(
        select coalesce(member ->> 'trading_symbol', member ->> 'instrument_key')
        from jsonb_array_elements(signals.members) as members (member)
    ), ', ') as member_names
from signals
inner join instruments using (instrument_id)
order by signals.bucket desc, trading_symbol
limit %(most)s
