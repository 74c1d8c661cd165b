"""Real market data for tests. It is not part of the project; a test that finds it absent is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def data_file(name: str) -> Path:
    """Return a file of the test data, or skip the test."""
    folder = Path(os.environ.get("TICKLINE_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    path = folder / name
    if not path.is_file():
        pytest.skip(f"no test data: {path} is absent (TICKLINE_TEST_DATA)")
    return path
