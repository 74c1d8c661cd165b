-- Create the partition of `depth` for a UTC day. Lock: brief, and only if the day is new.
-- Parameters: day date.
select tickline.ensure_depth_day(%(day)s)
