"""Names of options without an expiry; the newest minute of an empty database. The SQL is in `sql/ddl/0014`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
