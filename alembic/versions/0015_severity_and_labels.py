"""Severity and members of signals; labels of events. The SQL is in `sql/ddl/0015`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
