-- Time of the newest load of a master from a source. Parameters: source text. Columns: loaded_at timestamptz, rows int4.
select
    loaded_at,
    rows
from tickline.master_loads
where source = %(source)s
order by loaded_at desc
limit 1
