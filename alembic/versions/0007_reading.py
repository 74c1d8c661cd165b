"""Readers: reading the public relations needs no right to the schema `tickline`. The SQL is in `sql/ddl/0007`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
