"""Ticks in the columnstore take fewer bytes. The SQL is in `sql/ddl/0017`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
