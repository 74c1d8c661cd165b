-- Logins that only read: bars are read with functions of this schema, and every reader checks the schema's revision.
-- `grant select` decides which rows a login may read.
grant usage on schema tickline to public;
grant select on tickline.alembic_version, tickline.installation to public;
