-- What of TimescaleDB this server and this database have.
-- Rows: one. default_version: version in the files, null: no files; installed_version: version in
-- this database, null: none; loaded: the server started with it, told by a setting that its loader
-- brings (shared_preload_libraries is for superusers to read).
select
    current_setting('timescaledb.disable_load', true) is not null as loaded,
    (select default_version from pg_available_extensions where name = 'timescaledb') as default_version,
    (select extversion from pg_extension where extname = 'timescaledb') as installed_version
