"""Run the revisions on the connection that `ingest.database.upgrade.upgrade` passes.

Entry point of Alembic. There is no `alembic.ini` and no offline mode: use `tickline db upgrade`.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="tickline", transactional_ddl=True)
context.run_migrations()
