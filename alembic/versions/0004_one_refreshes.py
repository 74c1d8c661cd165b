"""One refresher of bars: drop the policies that refreshed beside this program. The SQL is in `sql/ddl/0004`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
