-- Note that a master file was loaded. Parameters: source text, rows int4.
insert into tickline.master_loads (source, rows)
values (%(source)s, %(rows)s)
