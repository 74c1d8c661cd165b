"""Ledger: committed neighbours share a row. The SQL is in `sql/ddl/0010`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
