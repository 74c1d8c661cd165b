"""Volume of a bar: rows with the same time and count have one order. The SQL is in `sql/ddl/0008`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
