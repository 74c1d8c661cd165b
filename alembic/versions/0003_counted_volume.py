"""Counted volume: bars whose minute saw a reset of the exchange's count, and the opening auction by session.

The SQL is in `sql/ddl/0003`.
"""

from __future__ import annotations

from alembic import op

from ingest.database.upgrade import run_ddl

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the files of this revision for the engine on record."""
    run_ddl(op.get_bind(), revision)
