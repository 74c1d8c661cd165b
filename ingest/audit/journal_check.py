"""Compare the journal with the ledger and the table, frame by frame. Reads only.

    received = journalled = committed + pending          frames
    ticks of a committed frame = its updates - rejected  rows of the table, each once
    ticks of a batch = its updates - rejected - duplicates   where two connections brought the same

Decoding a frame again shows what it should have made. That does not depend on earlier frames, except for
updates that the other of two connections had already brought: the ledger has their number for each row. So it has of
what was refused beyond the limits of side tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import psycopg

from ingest.audit.report import StreamReport
from ingest.audit.segment_check import SEQ_MAX, Segment, note_lost
from ingest.database.connections import translated
from ingest.errors import JournalError
from ingest.journal.folder import is_stream, segment_name, segments_of
from ingest.journal.reader import JournalReader
from ingest.model.records import Record


class StreamFiles(Protocol):
    """The segments of a stream as files, wherever they come from."""

    @property
    def name(self) -> str:
        """Name of the stream."""

    def names(self) -> list[str]:
        """Return the names of the segments, oldest first."""

    def paths(self, name: str) -> list[Path]:
        """Return the file of a segment, which stays until the next call; none if the segment is gone."""


class FolderFiles:
    """The segments of a stream in a folder."""

    def __init__(self, folder: Path) -> None:
        self.name, self._folder = folder.name, folder

    def names(self) -> list[str]:
        """Return the names of the segments; see `StreamFiles`."""
        return [segment_name(path) for path in segments_of(self._folder)]

    def paths(self, name: str) -> list[Path]:
        """Return the file of a segment; see `StreamFiles`."""
        return [path for path in segments_of(self._folder) if segment_name(path) == name]


def streams_of(journal: Path) -> Iterator[tuple[str, Path]]:
    """Yield collector and folder of every stream under the journal's folder; other folders are left out."""
    for collector in sorted(path for path in journal.glob("*") if path.is_dir()):
        for stream in sorted(path for path in collector.glob("*") if path.is_dir()):
            if is_stream(stream.name):
                yield collector.name, stream


def verify_stream(
    connection: psycopg.Connection[Any],
    collector: str,
    stream: Path | StreamFiles,
    *,
    day: date | None = None,
    show: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> StreamReport:
    """Compare one stream with the database.

    Parameters
    ----------
    connection
        Any connection; nothing is written.
    collector, stream
        Collector, and the folder of the stream or its segments from elsewhere.
    day
        Only segments of this Indian day; None: all.
    show
        Called with the name of each segment before it is read.
    advance
        Called with the number of file bytes processed since the last call.

    Raises
    ------
    StoreError
        If the database cannot be read.
    """
    files = FolderFiles(stream) if isinstance(stream, Path) else stream
    report = StreamReport(collector, files.name)
    crc: int | None = None
    before: Record | None = None
    standby_run = ""  # of the last connection
    unfinished = ""  # name of the previous segment, if its end is not committed
    with _readable():
        names = files.names()
    for name in names:
        if day is not None and not name.startswith(f"{day:%Y%m%d}"):
            continue
        show(name)
        with _readable():
            reader = _open(files, name, newest=name == names[-1])
        if reader is None:
            report.notes.append(f"{name}: deleted while the journal was read, its time was over")
            crc, before, unfinished = None, None, ""
            continue
        report.segments += 1
        with _readable():
            segment = Segment(
                connection, report, name, reader, crc, before=before, standby_run=standby_run, advance=advance
            )
            segment.check()
        if unfinished and segment.batches:
            report.note("ledger hole", f"{unfinished}: its last records are in no batch, later ones are")
        unfinished = segment.name if segment.unfinished else ""
        crc, before, standby_run = segment.crc, segment.before, segment.standby_run
    if report.unlisted_updates or report.unlisted_frames:
        report.notes.append(
            f"{report.unlisted_updates:,} rejected updates and {report.unlisted_frames:,} quarantined frames are only "
            "counted, because a day's limit was reached: their batches are compared as a sum, and the journal has the "
            "frames"
        )
    if before is not None and day is None:
        with _readable():
            note_lost(connection, report, before.seq + 1, SEQ_MAX)
    return report


def _open(files: StreamFiles, name: str, *, newest: bool) -> JournalReader | None:
    """Return a reader of one segment; None if it is gone.

    The newest one may still be written: an incomplete record at its end is not damage.
    """
    reader = JournalReader(lambda: files.paths(name), follow=newest)
    reader.open()  # an ingester may compress or delete it meanwhile
    return reader if files.paths(name) else None


@contextmanager
def _readable() -> Iterator[None]:
    try:
        with translated():
            yield
    except OSError as exc:
        raise JournalError(f"journal cannot be read: {str(exc.filename)!r}: {exc.strerror}: make it usable") from exc
