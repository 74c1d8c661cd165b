"""Identity of instruments: old terms keep their expiry. The SQL is in `sql/ddl/0005`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
