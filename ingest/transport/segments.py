"""Segments of a collector, wherever they are: the interface between a transport and who reads the journal.

    SegmentSource      where the bytes are: a folder (`ServedJournal`), another machine (`HttpCollector`)
    └─ RemoteSource    the records in them, checked one by one, as the consumer reads them

The unit is a synced range of bytes of a segment, because (collector, stream, segment, offset) is also the key of the
ledger. A reader asks for the bytes behind what it has, so a transport keeps no state for it, and nothing is lost or
doubled when either side ends.

Another transport plugs in as a `SegmentSource`. A broker's answers `piece` with the blocks that it has received, in
order: a block that begins at the offset asked for is returned, one before it is dropped, and for one behind it there is
a hole, which it fills by asking an `HttpCollector` for the same range. `streams` and `committed` it passes on to that
collector. Nothing else changes: `RemoteSource` checks every byte, whoever brought it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ingest.errors import JournalError
from ingest.model.records import Position

PIECE_BYTES_MAX = 2**20  # of one answer; ten thousand ticks are 600 kB
WAIT_S_MAX = 10.0  # longest wait for bytes that are not there yet; below the time limits of proxies


class SegmentGoneError(JournalError):
    """The collector has no such segment, or no longer."""


class UnreachableError(JournalError):
    """The collector does not answer, or not with what was asked for; it may later."""


class SegmentInfo(NamedTuple):
    """A segment as its collector lists it."""

    name: str
    size: int  # synced bytes, uncompressed; of a compressed one 0 if they were not counted yet
    is_closed: bool  # nothing more comes into it
    version: int  # of the format; 0: its header is damaged


@dataclass(frozen=True, slots=True)
class Listing:
    """What a collector has: its name, and the segments of each stream, oldest first."""

    collector: str
    streams: Mapping[str, tuple[SegmentInfo, ...]]

    def as_json(self) -> dict[str, Any]:
        """Return the listing as plain values."""
        return {
            "collector": self.collector,
            "streams": {name: [one._asdict() for one in segments] for name, segments in self.streams.items()},
        }

    @classmethod
    def from_json(cls, found: Any) -> Listing:
        """Return a listing out of plain values. Raises KeyError, TypeError, ValueError or AttributeError."""
        return cls(
            str(found["collector"]),
            {
                str(name): tuple(
                    SegmentInfo(str(one["name"]), int(one["size"]), bool(one["is_closed"]), int(one["version"]))
                    for one in segments
                )
                for name, segments in found["streams"].items()
            },
        )


class Piece(NamedTuple):
    """Bytes of a segment from the offset that was asked for; none: nothing more is synced at present."""

    data: bytes
    end: int  # of what is synced, bytes of the segment
    is_closed: bool  # nothing will come behind `end`


class SegmentSource(Protocol):
    """Where the segments of one collector are."""

    async def streams(self) -> Listing:
        """Return what there is. Raises UnreachableError."""

    async def piece(self, stream: str, segment: str, offset: int, *, bytes_max: int, wait_s: float) -> Piece:
        """Return synced bytes of a segment from an offset on.

        Parameters
        ----------
        stream, segment
            Name of the stream, and of a segment in it.
        offset
            Where they begin, bytes; the transport never returns others.
        bytes_max
            How many at most.
        wait_s
            How long to wait for the first one if the segment is open and has none yet, seconds.

        Raises
        ------
        SegmentGoneError
            If there is no such segment.
        UnreachableError
            If the transport does not answer properly; ask again.
        """

    async def committed(self, stream: str, position: Position, database: str) -> None:
        """Tell how far the ledger of a database is, so that segments before it may be deleted; a loss only delays.

        Raises
        ------
        UnreachableError
            If the message may not have arrived.
        JournalError
            If the collector refuses it.
        """
