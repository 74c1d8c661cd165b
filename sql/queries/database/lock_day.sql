-- Block writers to the ticks of a day until the transaction ends. Lock: share, on the day's part of `ticks`.
-- Parameters: day date, UTC.
select tickline.lock_day(%(day)s)
