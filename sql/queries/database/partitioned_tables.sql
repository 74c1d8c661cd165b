-- Our partitioned tables, whose statistics autovacuum does not make. Columns: schema, name text. Rows: one per table;
-- none on TimescaleDB.
select
    space.nspname as schema,
    relation.relname as name
from pg_class as relation
inner join pg_namespace as space on space.oid = relation.relnamespace
where space.nspname in ('public', 'tickline') and relation.relkind = 'p'
order by 1, 2
