-- Roles that may read or change our relations, apart from PostgreSQL's own: with the logins that belong to each.
-- No parameters. Expect: a row per role with any right. Columns: role text; logins text[], itself and members that
-- may log in; reads, writes bool, any relation; owns bool, has the owner's rights; superuser bool.
with relations as (
    select
        relation.oid as relation_id,
        relation.relowner as owner_id
    from pg_class as relation
    where
        relation.relnamespace in ('public'::regnamespace, to_regnamespace('tickline'))
        and relation.relkind in ('r', 'p', 'v')
        and not relation.relispartition
        and not exists (
            select
            from pg_depend as tie
            where tie.classid = 'pg_class'::regclass and tie.objid = relation.oid and tie.deptype = 'e'
        )
)

select
    role.rolname::text as role,
    array(
        select login.rolname::text
        from pg_roles as login
        where login.rolcanlogin and pg_has_role(login.oid, role.oid, 'usage') and (not login.rolsuper or login.oid = role.oid)
        order by login.rolname
    ) as logins,
    bool_or(has_table_privilege(role.oid, relation_id, 'select')) as reads,
    bool_or(has_table_privilege(role.oid, relation_id, 'insert, update, delete')) as writes,
    bool_or(pg_has_role(role.oid, owner_id, 'usage')) as owns,
    role.rolsuper as superuser
from pg_roles as role
cross join relations
where role.rolname !~ '^pg_'
group by role.oid, role.rolname, role.rolsuper
having bool_or(has_table_privilege(role.oid, relation_id, 'select, insert, update, delete'))
order by superuser desc, owns desc, writes desc, role
