-- Note the minutes of ticks, in the transaction that commits them.
-- Parameters: times timestamptz[]; the newest of each minute is enough. Rows: one, of no meaning.
select tickline.touch_minutes(%(times)s::timestamptz[])
