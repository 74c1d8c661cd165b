-- Make the bars that a range of times touches anew: one-minute, then five-minute. Outside a transaction.
-- Parameters: from_ts, to_ts timestamptz, half-open. Rows: none. Work in proportion to the range.
call tickline.refresh_bars(%(from_ts)s, %(to_ts)s)
