-- Drop the ticks of a day, without asking whether they may go. Lock: exclusive, on the day's part and, briefly, on `ticks`.
-- Parameters: day date, UTC.
select tickline.drop_day(%(day)s)
