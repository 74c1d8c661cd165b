-- Make tickline_writer a member of tickline_owner. TimescaleDB asks for ownership to refresh an aggregate, so there it
-- has the owner's rights; on plain PostgreSQL it has them only when it asks (`set role`), to drop an old day.
-- Run by a role that may grant membership. Repeating it changes nothing. No parameters.
do $$
declare
    is_timescale constant boolean := exists (select from tickline.installation where engine = 'timescale');
begin
    if is_timescale and not pg_has_role('tickline_writer', 'tickline_owner', 'usage') then
        grant tickline_owner to tickline_writer with inherit true, set true;
    elsif not pg_has_role('tickline_writer', 'tickline_owner', 'set') then
        grant tickline_owner to tickline_writer with inherit false, set true;
    end if;
end
$$
