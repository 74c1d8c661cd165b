-- Let tickline_reader read the embedded server's database and do nothing else. Functions that could affect a server
-- process, sessions that wait for a lock or a notice, or the log are for tickline_owner only.
-- Run by a superuser, in one transaction. Repeating it changes nothing.
do $$
declare
    taken record;
begin
    if
        has_database_privilege('tickline_reader', current_database(), 'temporary')
        or not has_table_privilege('tickline_reader', to_regclass('public.instruments'), 'select') -- a restored database
    then
        execute format('revoke temporary on database %I from public', current_database());
        execute format('grant temporary on database %I to tickline_owner', current_database());
        alter default privileges for role tickline_owner grant usage on schemas to tickline_reader;
        alter default privileges for role tickline_owner grant select on tables to tickline_reader;
        grant usage on schema public to tickline_reader;
        grant select on all tables in schema public to tickline_reader;
        if to_regnamespace('tickline') is not null then
            grant usage on schema tickline to tickline_reader;
            grant select on all tables in schema tickline to tickline_reader;
        end if;
    end if;
    for taken in
        select routine.oid::regprocedure as name
        from pg_proc as routine
        where
            routine.pronamespace = 'pg_catalog'::regnamespace
            and (
                routine.proname ~ '^pg_(try_)?advisory_'
                or routine.proname in (
                    'pg_terminate_backend', 'pg_cancel_backend', 'pg_notify', 'pg_logical_emit_message'
                )
            )
            and has_function_privilege('tickline_reader', routine.oid, 'execute')
    loop
        execute format('revoke execute on function %s from public', taken.name);
        execute format('grant execute on function %s to tickline_owner', taken.name);
    end loop;
end
$$
