"""Times that fault tests assert: in the long run only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fault.harness import WITHIN_S


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.soak)], ids=["outcome", "timed"])
def is_timed(request: pytest.FixtureRequest) -> bool:
    """Whether this run asserts times: `make soak` does, because nothing runs beside it."""
    return bool(request.param)


@pytest.fixture
def within(is_timed: bool) -> Callable[[float], float]:
    """Return the seconds that something may take; in the ordinary suite, so many that only what hangs fails."""
    return lambda seconds: seconds if is_timed else WITHIN_S
