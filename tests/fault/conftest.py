"""Times that fault tests assert: in the long run only."""

from __future__ import annotations

import pytest

from tests.fault.harness import WITHIN_S, Within


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.soak)], ids=["outcome", "timed"])
def is_timed(request: pytest.FixtureRequest) -> bool:
    """Whether this run asserts times: only `make soak` does, which runs one test at a time."""
    return bool(request.param)


@pytest.fixture
def within(is_timed: bool) -> Within:
    """Return the seconds that something may take; in the ordinary suite, so many that only what hangs fails."""
    return lambda seconds: seconds if is_timed else WITHIN_S
