-- One week per chunk, because minute bars are few.
select create_hypertable('public.official_bars_1m', by_range('bucket', interval '7 days'), create_default_indexes => false);
