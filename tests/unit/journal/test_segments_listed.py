"""Segments of a folder that changes while it is listed: one that is being compressed is there in either form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.journal.folder import segment_name, segments_of
from ingest.journal.housekeeping import _compress
from ingest.journal.writer import JournalLimits, JournalWriter


@pytest.mark.parametrize("listing", [1, 2])
def test_segment_that_is_compressed_after_a_listing_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: int
) -> None:
    folder = tmp_path / "1"
    for number in range(3):
        limits = JournalLimits(free_bytes_min=0)
        writer = JournalWriter(folder, collector="default", stream="1", next_seq=number * 100 + 1, limits=limits)
        writer.append(1, b"frame", 1_795_751_100_000_000)
        writer.close()
    names = [segment_name(path) for path in segments_of(folder)]
    assert len(names) == 3
    original, times = Path.iterdir, 0

    def iterdir(path: Path) -> Iterator[Path]:
        nonlocal times
        found = list(original(path))
        times += 1
        if times == listing:
            _compress(originals(found)[1])
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert [segment_name(path) for path in segments_of(folder)] == names
    assert times >= 2


def originals(found: list[Path]) -> list[Path]:
    return sorted(path for path in found if path.suffix == ".journal")
