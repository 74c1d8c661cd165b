-- Give tickline_writer the right to change rows and tickline_reader the right to read them, now and by default
-- privileges in what later revisions, partitions and chunks add. Readers do not see the two relations that hold what
-- was received or remembered as bytes. Making partitions asks for ownership, so the function that does it runs as its
-- owner, and only the writer may call it.
-- Run by tickline_owner or a superuser, in one transaction. Repeating it changes nothing. No parameters.
do $$
declare
    given record;
begin
    alter default privileges for role tickline_owner grant usage on schemas to tickline_writer, tickline_reader;
    alter default privileges for role tickline_owner grant select, insert, update, delete on tables to tickline_writer;
    alter default privileges for role tickline_owner grant select on tables to tickline_reader;
    alter default privileges for role tickline_owner grant select, usage on sequences to tickline_writer;
    if to_regnamespace('tickline') is null then
        return;
    end if;
    grant usage on schema public, tickline to tickline_writer, tickline_reader;
    for given in
        select
            relation.oid::regclass as name,
            relation.relname in ('checkpoints', 'quarantined_frames') as is_internal
        from pg_class as relation
        where
            relation.relnamespace in ('public'::regnamespace, 'tickline'::regnamespace)
            and relation.relkind in ('r', 'p', 'v')
            and relation.relowner = 'tickline_owner'::regrole
            and not (
                has_table_privilege('tickline_writer', relation.oid, 'insert')
                and has_table_privilege('tickline_writer', relation.oid, 'select')
                and has_table_privilege('tickline_reader', relation.oid, 'select')
                and relation.relname not in ('checkpoints', 'quarantined_frames')
            )
    loop
        execute format('grant select, insert, update, delete on %s to tickline_writer', given.name);
        if not given.is_internal then
            execute format('grant select on %s to tickline_reader', given.name);
        elsif has_table_privilege('tickline_reader', given.name::text, 'select') then
            execute format('revoke select on %s from tickline_reader', given.name);
        end if;
    end loop;
    for given in -- `pg_dump` reads them
        select relation.oid::regclass as name
        from pg_class as relation
        where
            relation.relnamespace in ('public'::regnamespace, 'tickline'::regnamespace)
            and relation.relowner = 'tickline_owner'::regrole
            and case
                when relation.relkind = 'S' then not has_sequence_privilege('tickline_writer', relation.oid, 'select')
            end
    loop
        execute format('grant select, usage on sequence %s to tickline_writer', given.name);
    end loop;
    for given in
        select routine.oid::regprocedure as name
        from pg_proc as routine
        where
            routine.pronamespace = 'tickline'::regnamespace
            and routine.proname in ('ensure_partitions', 'ensure_depth_day')
            and routine.proowner = 'tickline_owner'::regrole
            and not (routine.prosecdef and has_function_privilege('tickline_writer', routine.oid, 'execute'))
    loop
        execute format(
            'alter function %s security definer set search_path = pg_catalog, public, pg_temp', given.name
        );
        execute format('revoke execute on function %s from public', given.name);
        execute format('grant execute on function %s to tickline_writer', given.name);
    end loop;
end
$$
