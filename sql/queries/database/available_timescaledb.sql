-- TimescaleDB on this server and in this database.
-- Rows: one. default_version: version of the server's files, null: no files; installed_version: version in this
-- database, null: none; loaded: whether the server started with it. A setting of its loader tells, since only
-- superusers may read shared_preload_libraries.
select
    current_setting('timescaledb.disable_load', true) is not null as loaded,
    (select default_version from pg_available_extensions where name = 'timescaledb') as default_version,
    (select extversion from pg_extension where extname = 'timescaledb') as installed_version
