"""A journal made of the real recording, for tests that commit it or look at it."""

from __future__ import annotations

from pathlib import Path

from ingest.journal.recording import read_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import RecordKind
from tests.data import data_file


def make_journal(folder: Path, frames: int, limits: JournalLimits) -> Path:
    """Write the first frames of the recording, after half of them one that does not parse; return the folder."""
    journal = JournalWriter(folder, collector="default", stream="1", next_seq=1, limits=limits)
    journal.append(RecordKind.CONNECTED, b"{}", 1_765_771_374_000_000)
    for number, frame in zip(range(frames), read_recording(data_file("session-20251215-open.frames.gz")), strict=False):
        journal.append(RecordKind.FRAME, frame.payload, frame.received_ms * 1000)
        if number == frames // 2:
            journal.append(RecordKind.FRAME, b"\xff not a frame", frame.received_ms * 1000)
    journal.close()
    return folder
