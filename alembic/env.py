"""Alembic's entry: runs the revisions on the connection that `ingest.database.upgrade.upgrade` hands over.

Owns nothing: there is no `alembic.ini` and no offline mode, `tickline db upgrade` is the way in.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="tickline", transactional_ddl=True)
context.run_migrations()
