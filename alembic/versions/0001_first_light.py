"""First light: instruments, ticks, bars, the ledger. The SQL is in `sql/ddl/0001`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
