-- Logins that only read: bars are read with functions of this schema, and every reader looks at the schema's revision.
-- Which rows one may read is said by `grant select`.
grant usage on schema tickline to public;
grant select on tickline.alembic_version, tickline.installation to public;
