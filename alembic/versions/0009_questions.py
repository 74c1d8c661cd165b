"""Questions in SQL: names to instruments, bars of any interval, option chains, movers. The SQL is in `sql/ddl/0009`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
