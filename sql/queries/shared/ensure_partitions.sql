-- Create the partitions of `ticks` for a range of times. Lock: brief, and only if a day is new.
-- Parameters: start, end timestamptz, both inclusive.
select tickline.ensure_partitions(%(start)s, %(end)s)
