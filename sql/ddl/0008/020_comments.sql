-- Comments that a reader sees, in plainer words.
comment on column tickline.tick_template.ts is 'event time: of the trade, otherwise the exchange''s clock of the frame';
comment on column public.ticks.ts is 'event time: of the trade, otherwise the exchange''s clock of the frame';
comment on column public.latest_ticks.ts is 'event time: of the trade, otherwise the exchange''s clock of the frame';
comment on view public.best_bars_1m is 'the official bar where one exists, otherwise the bar built from ticks';
comment on table tickline.touched_minutes is 'minutes whose bars must be rebuilt: ticks were committed in them';
