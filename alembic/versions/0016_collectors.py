"""Keys of each collector, so that any writer can name the gap of a lost one. The SQL is in `sql/ddl/0016`."""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
