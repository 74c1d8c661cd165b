-- Act as tickline_owner if it owns the schema and this login may, so that new objects are its own.
-- No parameters. Rows: one if the role changed, otherwise none. Lasts until the session ends.
select set_config('role', owner.rolname, false) as role
from pg_namespace as space
inner join pg_roles as owner on owner.oid = space.nspowner
where
    space.nspname = 'tickline'
    and owner.rolname = 'tickline_owner'
    and owner.rolname <> current_user
    and pg_has_role(session_user, owner.oid, 'set')
