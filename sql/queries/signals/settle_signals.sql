-- Store the outcome of signals: the price 5, 15 and 60 minutes after the end of the minute, over their own, minus 1; not
-- turned round for signals that point down. The price is the close of the last bar that had ended by then. Null as long
-- as that time has not come, or if nothing was traded after the signal's own minute.
-- Expect: the signals of a day. Parameters: since, until timestamptz (of the newest bar's end).
with waiting as (
    select
        instrument_id,
        bucket,
        rule_set,
        price
    from signals
    where
        bucket >= %(since)s
        and bucket < %(until)s
        and after_60m is null
),

ranges as (
    select distinct
        instrument_id,
        bucket
    from waiting
),

later as (
    select
        instrument_id,
        bucket,
        array(
            select
                case
                    when bucket + make_interval(mins => 1 + horizon) <= %(until)s
                        then (
                            select close
                            from best_bars_1m
                            where
                                best_bars_1m.instrument_id = ranges.instrument_id
                                and best_bars_1m.bucket > ranges.bucket
                                and best_bars_1m.bucket < ranges.bucket + make_interval(mins => 1 + horizon)
                            order by best_bars_1m.bucket desc
                            limit 1
                        )
                end
            from unnest(array[5, 15, 60]) with ordinality as horizons (horizon, number)
            order by number
        ) as closes
    from ranges
)

update signals
set after_5m = later.closes[1] / signals.price - 1,
    after_15m = later.closes[2] / signals.price - 1,
    after_60m = later.closes[3] / signals.price - 1
from waiting
inner join later on waiting.instrument_id = later.instrument_id and waiting.bucket = later.bucket
where
    signals.instrument_id = waiting.instrument_id
    and signals.bucket = waiting.bucket
    and signals.rule_set = waiting.rule_set
