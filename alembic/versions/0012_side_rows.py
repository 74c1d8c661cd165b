"""Rejected ticks and quarantined frames of a day have a limit. The SQL is in `sql/ddl/0012`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
