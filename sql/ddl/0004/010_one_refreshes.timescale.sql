-- One refreshes bars: this program, which knows the minutes that ticks were committed in. A policy beside it moved
-- the watermark beyond minutes that still form, so that readers missed what came later, and the two failed on
-- each other ("concurrent refresh"). Above the watermark bars are computed when they are read; what a killed
-- process left below it is noted in `tickline.touched_minutes`, and made by the next start, replay or refresh.
select remove_continuous_aggregate_policy('public.bars_1m', if_exists => true);
select remove_continuous_aggregate_policy('public.bars_5m', if_exists => true);
