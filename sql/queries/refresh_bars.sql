-- Make the bars of a range anew out of the ticks, one-minute then five-minute.
-- Parameters: from_ts, to_ts (timestamptz). Rows: none. Run it outside a transaction.
call tickline.refresh_bars(%(from_ts)s, %(to_ts)s)
