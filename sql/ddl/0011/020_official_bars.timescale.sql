-- Official bars in the columnstore: 28 instead of 141 bytes each.
-- Not segmented by instrument, as ticks and bars are: TimescaleDB 2.29.2 fails to plan a union with a segmented relation
-- that is grouped or ordered by (instrument_id, bucket), with `invalid array position`, and `best_bars_1m` is one.
-- Sorted by instrument, a batch holds a few of them, and a question of one instrument still reads few batches.
alter table public.official_bars_1m set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = '',
    timescaledb.orderby = 'instrument_id, bucket'
);

-- By then a week is repaired; later repairs are stored as rows, and join the batches in the next run.
call add_columnstore_policy('public.official_bars_1m', after => interval '14 days');
