-- Record the minutes of ticks as touched, in the transaction that commits the ticks.
-- Parameters: times timestamptz[]; the newest of each minute is enough. Rows: one, without meaning.
select tickline.touch_minutes(%(times)s::timestamptz[])
