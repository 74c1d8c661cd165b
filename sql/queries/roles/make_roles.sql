-- Create the missing roles, which hold rights and belong to whoever logs in. The owner may log in because TimescaleDB
-- runs jobs only for roles that may; without a password it cannot where the server asks for one.
-- Run by a role that may create roles, in one transaction. Repeating it changes nothing. No parameters.
do $$
begin
    if to_regrole('tickline_owner') is null then
        create role tickline_owner login;
        comment on role tickline_owner is 'Owns the relations of Tickline and its background jobs';
    end if;
    if to_regrole('tickline_writer') is null then
        create role tickline_writer;
        comment on role tickline_writer is 'Records: reads and writes the relations of Tickline';
    end if;
    if to_regrole('tickline_reader') is null then
        create role tickline_reader;
        comment on role tickline_reader is 'Reads the relations of Tickline';
    end if;
    -- Whoever gives objects away must be able to become their new owner.
    if not pg_has_role('tickline_owner', 'set') then
        execute format('grant tickline_owner to %I with inherit true, set true', current_user);
    end if;
end
$$
