-- The first relation of a database that belongs to no extension.
-- Columns: name text. Expect: no row in an empty database.
select format('%I.%I', space.nspname, relation.relname) as name
from pg_class as relation
inner join pg_namespace as space on space.oid = relation.relnamespace
where
    space.nspname <> 'information_schema'
    and space.nspname !~ '^pg_'
    and not exists (
        select
        from pg_depend as tie
        where
            tie.deptype = 'e'
            and (
                tie.classid = 'pg_class'::regclass and tie.objid = relation.oid
                or tie.classid = 'pg_namespace'::regclass and tie.objid = space.oid
            )
    )
order by space.nspname = 'public' desc, name
limit 1
