-- Drop the depth of a UTC day, without any check. Lock: exclusive, on the day's part and, briefly, on `depth`.
-- Parameters: day date.
select tickline.drop_depth_day(%(day)s)
