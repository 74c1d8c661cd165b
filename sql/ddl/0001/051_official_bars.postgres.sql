-- `best_bars_5m` selects by the start of five minutes.
create index official_bars_1m_bucket_5m_idx on public.official_bars_1m (instrument_id, tickline.bucket_5m(bucket));
