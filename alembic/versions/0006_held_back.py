"""Keys that are held back: a rejected tick has a number of updates. The SQL is in `sql/ddl/0006`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
