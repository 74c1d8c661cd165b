-- The views are created again below, on the new bars.
drop view public.best_bars_5m;
drop view public.best_bars_1m;
drop view tickline.minutes;
