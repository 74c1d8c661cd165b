-- Keep the exchange's own figures of a day before its ticks are dropped. Parameters: day date.
call tickline.keep_official_days(%(day)s)
