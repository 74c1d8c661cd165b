-- Let tickline_owner create what a revision needs in this database, and make its schema.
-- Run by the owner of the database or a superuser, in one transaction. Repeating it changes nothing. No parameters.
do $$
begin
    execute format('grant connect, create, temporary on database %I to tickline_owner', current_database());
    grant usage, create on schema public to tickline_owner;
    if to_regnamespace('tickline') is null then
        create schema tickline authorization tickline_owner;
    end if;
end
$$
