-- TimescaleDB, Community edition: hypertables, continuous aggregates, columnstore, jobs.
create extension if not exists timescaledb;
