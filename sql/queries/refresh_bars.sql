-- Make the bars that a range of times touches anew: one-minute, then five-minute. Outside a transaction.
-- Parameters: start, end timestamptz, half-open. Expect: work in proportion to the range.
call tickline.refresh_bars(%(start)s, %(end)s)
