-- Signals of a range with their outcomes and labels, by time. By the index on bucket. Expect: a row per signal.
-- Parameters: start, end timestamptz, half-open, of the bucket; rule_set text, null: all.
-- Columns: instrument_id int4; instrument_key, trading_symbol, class (equity, index, future, option) text;
-- bucket timestamptz; rule_set, direction text; confidence, price (rupees), move (fraction, over the window) float8;
-- severity text; members jsonb; reasons text; after_5m, after_15m, after_60m float8 (fraction that the price moved
-- since); verdict, note text.
select
    signals.instrument_id,
    instruments.instrument_key,
    instruments.trading_symbol,
    case
        when instruments.instrument_type = 'FUT' then 'future'
        when instruments.instrument_type in ('CE', 'PE') then 'option'
        when instruments.instrument_type = 'INDEX' then 'index'
        when right(split_part(instruments.instrument_key, '|', 1), 6) = '_INDEX' then 'index'
        when instruments.strike is not null then 'option'
        when right(split_part(instruments.instrument_key, '|', 1), 3) = '_FO' then 'future'
        when split_part(instruments.instrument_key, '|', 1) = 'NSE_COM' then 'future'
        else 'equity'
    end as class,
    signals.bucket,
    signals.rule_set,
    signals.direction,
    signals.confidence,
    signals.price,
    (signals.reasons ->> 'move')::float8 as move,
    signals.severity,
    signals.members,
    signals.reasons ->> 'text' as reasons,
    signals.after_5m,
    signals.after_15m,
    signals.after_60m,
    labels.verdict,
    labels.note
from signals
inner join instruments on signals.instrument_id = instruments.instrument_id
left join labels on signals.instrument_id = labels.instrument_id and signals.bucket = labels.bucket
where
    signals.bucket >= %(start)s
    and signals.bucket < %(end)s
    and (%(rule_set)s::text is null or signals.rule_set = %(rule_set)s)
order by
    signals.bucket,
    instruments.instrument_key,
    signals.rule_set
