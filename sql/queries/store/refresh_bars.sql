-- Rebuild the bars that a range of times touches: one-minute, then five-minute. Outside a transaction.
-- Parameters: from_ts, to_ts timestamptz, half-open. Rows: none. Work is proportional to the range.
call tickline.refresh_bars(%(from_ts)s, %(to_ts)s)
