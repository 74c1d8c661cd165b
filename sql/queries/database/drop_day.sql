-- Drop the ticks of a day without any check. Lock: exclusive, on the day's part and, briefly, on `ticks`.
-- Parameters: day date, UTC.
select tickline.drop_day(%(day)s)
