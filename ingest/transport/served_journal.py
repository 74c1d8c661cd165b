"""Served journal: what other machines may read of this collector's journal: bytes that an fsync has covered.

Reads only. Nothing of a name that comes from outside becomes a path: it is compared with the names in the folder.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ingest.errors import CorruptionError
from ingest.journal.compression import ZstdError, unpacked, unpacked_size
from ingest.journal.folder import HEADER_BYTES_MAX, SUFFIX, segment_name
from ingest.journal.format import version_of
from ingest.journal.reader import open_segment
from ingest.model.records import Position, order_of
from ingest.transport.cursor import Cursor, OtherDatabaseError
from ingest.transport.segments import Listing, Piece, SegmentGoneError, SegmentInfo

UNPACKED_MAX = 2  # compressed segments that are kept unpacked, each an unnamed file of up to a segment


class Written(Protocol):
    """A stream as whoever writes it knows it; see `JournalWriter`."""

    @property
    def segment(self) -> str:
        """Name of the newest segment begun; "": all are closed."""

    @property
    def synced(self) -> Position | None:
        """End of what is on the disk; None: nothing of the newest segment is."""

    def segments(self) -> list[Path]:
        """Return the segments, oldest first."""


@dataclass(slots=True)
class _Unpacked:
    """A compressed segment as an unnamed file."""

    fd: int
    size: int


class ServedJournal:
    """The synced bytes of one collector's streams. Its methods block, and may be called on any thread.

    Parameters
    ----------
    collector
        Name of the collector.
    journals
        Stream -> who writes it.
    """

    def __init__(self, collector: str, journals: Mapping[str, Written]) -> None:
        self.collector = collector
        self._journals = journals
        self._synced: set[tuple[str, str]] = set()  # closed segments of which all is on the disk
        self._facts: dict[tuple[str, str], tuple[int, int]] = {}  # closed segment -> its size and version
        self._unpacked: OrderedDict[tuple[str, str], _Unpacked] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def names(self) -> Set[str]:
        """Names of the streams."""
        return self._journals.keys()

    def listing(self) -> Listing:
        """Return the streams and their segments. Raises OSError."""
        return Listing(
            self.collector,
            {
                name: tuple(self._info(name, journal, path) for path in journal.segments())
                for name, journal in self._journals.items()
            },
        )

    def piece(self, stream: str, segment: str, offset: int, bytes_max: int) -> Piece:
        """Return synced bytes of a segment from an offset on, at once.

        Raises
        ------
        SegmentGoneError
            If there is no such segment.
        OSError
            If the disk cannot be read.
        """
        if (journal := self._journals.get(stream)) is None:
            raise SegmentGoneError(f"stream {stream!r} is not one of collector {self.collector!r}: ask for its list")
        for _ in range(3):  # it may be compressed between the listing and the opening
            path = next((path for path in journal.segments() if segment_name(path) == segment), None)
            if path is None:
                break
            try:
                return self._piece(stream, journal, path, offset, bytes_max)
            except FileNotFoundError:
                continue
        raise SegmentGoneError(f"segment {segment!r} of stream {stream!r} is not here (any more): ask for the list")

    def end(self, stream: str) -> tuple[str, int]:
        """Return the newest segment of a stream and its synced end, without a look at the disk; ("", 0): unknown."""
        journal = self._journals.get(stream)
        synced = journal.synced if journal is not None else None
        return (synced.segment, synced.offset) if synced else ("", 0)

    def close(self) -> None:
        """Close the unpacked segments."""
        with self._lock:
            while self._unpacked:
                os.close(self._unpacked.popitem()[1].fd)

    def _piece(self, stream: str, journal: Written, path: Path, offset: int, bytes_max: int) -> Piece:
        name = segment_name(path)
        is_closed = _is_closed(journal, name)
        if path.suffix != SUFFIX:
            with self._lock:
                unpacked = self._unpack(stream, path)
                data = os.pread(unpacked.fd, max(min(bytes_max, unpacked.size - offset), 0), offset)
            return Piece(data, unpacked.size, is_closed)
        fd = os.open(path, os.O_RDONLY)
        try:
            end = self._synced_size(stream, journal, name, fd, is_closed=is_closed)
            return Piece(os.pread(fd, max(min(bytes_max, end - offset), 0), offset), end, is_closed)
        finally:
            os.close(fd)

    def _synced_size(self, stream: str, journal: Written, name: str, fd: int, *, is_closed: bool) -> int:
        """Return how much of a segment is on the disk; a closed one is synced first, in case its writer could not."""
        if not is_closed:
            synced = journal.synced
            return synced.offset if synced is not None and synced.segment == name else 0
        if (stream, name) not in self._synced:
            os.fsync(fd)
            self._synced.add((stream, name))
        return os.fstat(fd).st_size

    def _unpack(self, stream: str, path: Path) -> _Unpacked:
        key = (stream, segment_name(path))
        if (found := self._unpacked.get(key)) is None:
            fd, _ = open_segment(path)
            found = self._unpacked[key] = _Unpacked(fd, os.fstat(fd).st_size)
            while len(self._unpacked) > UNPACKED_MAX:
                os.close(self._unpacked.popitem(last=False)[1].fd)
        self._unpacked.move_to_end(key)
        return found

    def _info(self, stream: str, journal: Written, path: Path) -> SegmentInfo:
        name = segment_name(path)
        is_closed = _is_closed(journal, name)
        known = self._facts.get((stream, name))
        try:
            if known is None:
                known = _size_of(path), _version(path)
                if is_closed:
                    self._facts[stream, name] = known
        except FileNotFoundError:  # compressed or deleted since
            known = 0, 0
        size, version = known
        if not is_closed:
            segment, size = self.end(stream)
            size = size if segment == name else 0
        return SegmentInfo(name, size, is_closed, version)


def note_committed(journal: ServedJournal, cursor: Cursor, stream: str, position: Position, database: str) -> Position:
    """Note a committed end that a writer tells; return the one that counts.

    Raises
    ------
    OtherDatabaseError
        If it does not lie in the journal: the ledger is that of another journal of this name.
    SegmentGoneError, OSError
        As `ServedJournal.piece` and `Cursor.move`.
    """
    end = journal.piece(stream, position.segment, 0, 0).end
    if position.offset > end:
        raise OtherDatabaseError(
            f"ledger has {position.segment}:{position.offset} of stream {stream!r}, but the journal ends at {end}: "
            "it is that of another journal of this name"
        )
    return cursor.move(stream, position, database)


def _is_closed(journal: Written, name: str) -> bool:
    """Tell whether a writer has left a segment; it never returns to those of earlier runs."""
    return not journal.segment or order_of(name) < order_of(journal.segment)


def _size_of(path: Path) -> int:
    if path.suffix == SUFFIX:
        return path.stat().st_size
    with path.open("rb") as packed:
        try:
            return unpacked_size(packed)
        except ZstdError:
            return 0


def _version(path: Path) -> int:
    with path.open("rb") as file:
        try:
            return version_of((file if path.suffix == SUFFIX else unpacked(file)).read(HEADER_BYTES_MAX))
        except (ZstdError, CorruptionError):
            return 0
