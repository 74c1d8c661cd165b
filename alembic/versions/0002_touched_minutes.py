"""Touched minutes: minutes whose bars must be rebuilt. The SQL is in `sql/ddl/0002`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
