"""Fixtures of tests of the database."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.database import upgrade as apply
from ingest.database.connections import Database
from tests.db.bar_rows import Connection, refresh


@pytest.fixture(params=["computed", "refreshed"])
def settle(request: pytest.FixtureRequest, conn: Connection) -> Any:
    """Look at the bars above the watermark and below it: they must be the same."""
    return (lambda: None) if request.param == "computed" else (lambda: refresh(conn, 0, 3600))


@pytest.fixture
def older(empty_database: Database, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database as an earlier version of this program made it."""
    from alembic import command

    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, request.param))
        patch.setattr(apply, "show_kept_bars", lambda _: None)
        apply.upgrade(empty_database)
    return empty_database
