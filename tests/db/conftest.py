"""Fixtures of tests of the database."""

from __future__ import annotations

from typing import Any

import pytest

from tests.db.bar_rows import Connection, refresh


@pytest.fixture(params=["computed", "refreshed"])
def settle(request: pytest.FixtureRequest, conn: Connection) -> Any:
    """Look at the bars above the watermark and below it: they must be the same."""
    return (lambda: None) if request.param == "computed" else (lambda: refresh(conn, 0, 3600))
