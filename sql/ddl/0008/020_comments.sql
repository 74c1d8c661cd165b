-- Comments of relations, in plainer words.
comment on column tickline.tick_template.ts is 'event time: of the trade, otherwise the exchange''s clock of the frame';
comment on column public.ticks.ts is 'event time: of the trade, otherwise the exchange''s clock of the frame';
comment on column public.latest_ticks.ts is 'event time: of the trade, otherwise the exchange''s clock of the frame';
comment on view public.best_bars_1m is 'the official bar where one exists, otherwise the bar built from ticks';
comment on table tickline.touched_minutes is 'minutes whose bars must be rebuilt: ticks were committed in them';
comment on table public.feed_gaps is 'times when the feed, or one instrument, was not received';
comment on column public.best_bars_1m.quality is 'gap: the feed was not received for a part of it; partial: recording began or stopped in it, or the vendor''s bar of it is a filler; auction: before the open; thin: built from a single trade; complete: any other';
comment on table public.unheard_minutes is 'minutes that were not received completely, until they are repaired';
comment on column public.unheard_minutes.quality is 'gap: the feed was not received for a part of it; partial: recording began or stopped in it, or the vendor''s bar of it or of the next is a filler without volume';
comment on table tickline.late_ticks is 'committed ticks that are moved to ticks in their own transaction';
comment on column tickline.rejected_ticks.updates is 'number of updates of the frame that were rejected for this reason; tick has the first';
comment on column tickline.rejected_ticks.held_back is 'the key is in no list and was beyond the daily limit of new keys';
