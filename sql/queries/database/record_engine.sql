-- Record the engine at the first upgrade.
-- Parameters: engine, 'timescale' or 'postgres'. Rows: none.
insert into tickline.installation (engine)
values (%(engine)s)
