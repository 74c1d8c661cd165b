-- Only this program refreshes bars, because it knows the minutes in which ticks were committed. A policy beside it
-- moved the watermark beyond minutes that still form, so that readers missed later ticks, and the two failed on each
-- other ("concurrent refresh"). Above the watermark bars are computed when read; work that a killed process left below
-- it is in `tickline.touched_minutes`, and the next start, replay or refresh does it.
select remove_continuous_aggregate_policy('public.bars_1m', if_exists => true);
select remove_continuous_aggregate_policy('public.bars_5m', if_exists => true);
