"""Measure the journal: its cost per frame, and its share of the time from frame to committed row."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingest.database.connections import Database
from ingest.database.upgrade import upgrade
from ingest.errors import JournalError
from ingest.journal.folder import segments_of
from ingest.journal.reader import JournalReader
from ingest.journal.recording import read_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import RecordKind
from ingest.pipeline.replay import replay
from ingest.settings import settings

NEVER_MS = 3_600_000  # so long that no fsync happens during the run
GROUP_MS = 100  # default of TICKLINE_JOURNAL_FSYNC_MS
EACH_FRAMES_MAX = 2_000  # one fsync per frame takes about a millisecond each
READ_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class JournalResult:
    """Cost of appending with one fsync policy."""

    fsync: str
    frames: int
    us_per_frame: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class JournalShare:
    """The journal's share of the time from frame to committed row."""

    write_s: float
    read_s: float
    rest_s: float  # decode, normalise and commit of the same frames

    @property
    def share(self) -> float:
        """Journal time divided by total time, 0 to 1."""
        return (self.write_s + self.read_s) / (self.write_s + self.read_s + self.rest_s)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"share": self.share}


def bench_journal(recording: Path, say: Callable[[str], None]) -> tuple[list[JournalResult], JournalShare]:
    """Measure appending with and without fsync, then the journal's share of a whole ingestion.

    Parameters
    ----------
    recording
        Source of the frames.
    say
        Called with each step, as a line of text.

    Raises
    ------
    JournalError
        If the recording has no frames or cannot be read.
    """
    payloads = [frame.payload for frame in read_recording(recording)]
    if not payloads:
        raise JournalError(f"recording {recording.name!r} is empty: name another")
    with tempfile.TemporaryDirectory(prefix="tickline-") as name:
        folder = Path(name)
        say(f"appending {len(payloads):,} frames")
        results = [
            _append("none", folder / "none", payloads, NEVER_MS),
            _append(f"every {GROUP_MS} ms", folder / "group", payloads, GROUP_MS),
            _append("every frame", folder / "each", payloads[:EACH_FRAMES_MAX], 0),
        ]
        began = time.perf_counter()
        reader = JournalReader(lambda: segments_of(folder / "group"), follow=False)
        while not reader.finished:
            reader.read(READ_BYTES)
        read_s = time.perf_counter() - began
        say("ingesting the same frames without a journal")
        config = settings(home=folder / "home", database_url=None)
        with Database.open(config) as database:
            upgrade(database)
            began = time.perf_counter()
            asyncio.run(replay(config, database.url, [recording]))
            rest_s = time.perf_counter() - began
    return results, JournalShare(results[1].us_per_frame * results[1].frames / 1e6, read_s, rest_s)


def _append(fsync: str, folder: Path, payloads: list[bytes], fsync_ms: int) -> JournalResult:
    limits = JournalLimits(fsync_ms=fsync_ms)
    journal = JournalWriter(folder, collector="bench", stream="1", next_seq=1, limits=limits)
    received_us = time.time_ns() // 1000
    began = time.perf_counter()
    for payload in payloads:
        journal.append(RecordKind.FRAME, payload, received_us)
    elapsed = time.perf_counter() - began
    journal.close()
    return JournalResult(fsync, len(payloads), elapsed / len(payloads) * 1e6, journal.bytes / elapsed)
