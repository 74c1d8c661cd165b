-- Give our objects in this database to tickline_owner, which is not a superuser. Repeating it changes nothing.
-- Run by a superuser, or by their owner who may become tickline_owner, in one transaction. Locks each relation whose
-- owner changes. Only a superuser can give jobs away; those of others still run as long as their owner may do so.
-- No parameters.
do $$
declare
    given record;
    has_timescaledb constant boolean := to_regclass('timescaledb_information.continuous_aggregates') is not null;
    aggregates oid[] := '{}';
begin
    if has_timescaledb then
        execute $aggregates$
            select coalesce(array_agg(format('%I.%I', view_schema, view_name)::regclass::oid), '{}')
            from timescaledb_information.continuous_aggregates
        $aggregates$ into aggregates;
    end if;
    -- TimescaleDB changes the owner of the tables behind a hypertable or an aggregate.
    for given in
        select
            case
                when relation.oid = any (aggregates) then 'materialized view'
                when relation.relkind = 'v' then 'view'
                when relation.relkind = 'S' then 'sequence'
                else 'table'
            end as kind,
            relation.oid::regclass as name
        from pg_class as relation
        where
            relation.relnamespace in (select oid from pg_namespace where nspname in ('public', 'tickline'))
            and relation.relkind in ('r', 'p', 'v', 'S')
            and relation.relowner <> 'tickline_owner'::regrole
            and not exists (
                select from pg_depend as tie
                where
                    tie.classid = 'pg_class'::regclass
                    and tie.objid = relation.oid
                    and (tie.deptype = 'e' or relation.relkind = 'S' and tie.deptype in ('a', 'i'))
            )
    loop
        execute format('alter %s %s owner to tickline_owner', given.kind, given.name);
    end loop;
    for given in
        select routine.oid::regprocedure as name
        from pg_proc as routine
        where
            routine.pronamespace in (select oid from pg_namespace where nspname in ('public', 'tickline'))
            and routine.proowner <> 'tickline_owner'::regrole
            and not exists (
                select from pg_depend as tie
                where tie.classid = 'pg_proc'::regclass and tie.objid = routine.oid and tie.deptype = 'e'
            )
    loop
        execute format('alter routine %s owner to tickline_owner', given.name);
    end loop;
    if exists (select from pg_namespace where nspname = 'tickline' and nspowner <> 'tickline_owner'::regrole) then
        alter schema tickline owner to tickline_owner;
    end if;
    if has_timescaledb and current_setting('is_superuser')::boolean then
        execute $jobs$
            update _timescaledb_catalog.bgw_job
            set owner = 'tickline_owner'
            where (hypertable_id is not null or proc_schema = 'tickline') and owner <> 'tickline_owner'::regrole
        $jobs$;
    end if;
end
$$
