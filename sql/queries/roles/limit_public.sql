-- Take from everybody but tickline_owner and tickline_writer the functions and rights with which a reader could affect
-- other sessions, the disk or the log: temporary tables, large objects, session locks, notices, background jobs, ending
-- a session. Run by a superuser, in one transaction. Repeating it changes nothing. No parameters.
do $$
declare
    taken record;
begin
    if exists (
        select
        from pg_database
        cross join lateral aclexplode(coalesce(datacl, acldefault('d', datdba))) as given
        where datname = current_database() and given.grantee = 0 and given.privilege_type = 'TEMPORARY'
    ) then
        execute format('revoke temporary on database %I from public', current_database());
    end if;
    if not has_database_privilege('tickline_writer', current_database(), 'temporary') then
        execute format('grant temporary on database %I to tickline_owner, tickline_writer', current_database());
    end if;
    revoke create on schema public from public;
    for taken in
        select routine.oid::regprocedure as name
        from pg_proc as routine
        cross join lateral aclexplode(coalesce(routine.proacl, acldefault('f', routine.proowner))) as given
        where
            given.grantee = 0
            and (
                routine.pronamespace = 'pg_catalog'::regnamespace
                and (
                    routine.proname ~ '^pg_(try_)?advisory_'
                    or routine.proname in (
                        'pg_terminate_backend', 'pg_cancel_backend', 'pg_notify', 'pg_logical_emit_message',
                        'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_open', 'lo_put', 'lo_unlink'
                    )
                )
                or routine.proname = 'add_job'
                and exists (
                    select
                    from pg_depend as tie
                    inner join pg_extension as extension on extension.oid = tie.refobjid
                    where
                        tie.classid = 'pg_proc'::regclass
                        and tie.objid = routine.oid
                        and tie.deptype = 'e'
                        and extension.extname = 'timescaledb'
                )
            )
    loop
        execute format('grant execute on function %s to tickline_owner, tickline_writer', taken.name);
        execute format('revoke execute on function %s from public', taken.name);
    end loop;
    -- An earlier version gave them to the owner only.
    for taken in
        select routine.oid::regprocedure as name
        from pg_proc as routine
        where
            has_function_privilege('tickline_owner', routine.oid, 'execute')
            and not has_function_privilege('tickline_writer', routine.oid, 'execute')
            and routine.pronamespace = 'pg_catalog'::regnamespace
    loop
        execute format('grant execute on function %s to tickline_writer', taken.name);
    end loop;
end
$$
