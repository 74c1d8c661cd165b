-- Record that a master file was loaded. Parameters: source text, rows int4, loaded_at timestamptz (null: now).
insert into tickline.master_loads (source, rows, loaded_at)
values (%(source)s, %(rows)s, coalesce(%(loaded_at)s, now()))
