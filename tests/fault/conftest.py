"""Fixtures of the fault tests."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from ingest.recording import read_recording, write_recording
from tests.data import data_file


@pytest.fixture(scope="session")
def session() -> Path:
    """The recorded session: 62,913 frames, 209,928 ticks."""
    return data_file("session-20251215-open.frames.gz")


@pytest.fixture(scope="session")
def short_session(session: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first 6,000 frames."""
    path = tmp_path_factory.mktemp("recording") / "short.frames.gz"
    frames = islice(read_recording(session), 6_000)
    write_recording(path, ((frame.received_ms, frame.payload) for frame in frames))
    return path
