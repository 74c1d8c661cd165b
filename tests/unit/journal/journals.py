"""Journals of a few small segments, written and read back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ingest.journal.folder import segments_of
from ingest.journal.housekeeping import tidy
from ingest.journal.reader import JournalReader
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import Position, Record, RecordKind

DAY_US = 86_400_000_000
T0_US = 1_765_771_374_837_000


def writer(folder: Path, *, next_seq: int = 1, **given: int) -> JournalWriter:
    limits = JournalLimits(**{"segment_bytes_max": 10_000, "fsync_ms": 5} | given)
    return JournalWriter(folder, collector="default", stream="1", next_seq=next_seq, limits=limits)


def read_all(folder: Path, position: Position | None = None, bytes_max: int = 700) -> list[Record]:
    reader = JournalReader(lambda: segments_of(folder), position, follow=False)
    records: list[Record] = []
    while not reader.finished:
        records += reader.read(bytes_max)
    reader.close()
    return records


def fill(folder: Path, count: int, **given: int) -> list[bytes]:
    payloads = [bytes([number % 256]) * (number % 400) for number in range(count)]
    journal = writer(folder, **given)
    for number, payload in enumerate(payloads):
        journal.append(RecordKind.FRAME, payload, T0_US + number)
    journal.close()
    return payloads


NOW = datetime(2025, 12, 20, tzinfo=UTC)


def keeping(folder: Path, committed: Position | None, **given: int) -> tuple[int, int]:
    kept = tidy(folder, committed, **{"keep_days": 30, "quota_bytes": 0} | given, now=NOW)
    return kept.compressed, kept.deleted
