"""Ring: the newest events, encoded, for all clients at once; what a client has not taken yet is here and nowhere else.

Its limit in bytes is the limit of all clients together. A client whose place falls off the ring was too slow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ingest.live.broadcast.encoding import Encoded

RING_BYTES_MAX = 3 * 2**20  # a second of the largest feed; what is older comes from the database
ROW_OVERHEAD_BYTES = 150  # of Python's objects round a row


@dataclass(frozen=True, slots=True)
class Entry:
    """Rows that came together: ticks of whole frames of one stream, or bars or signals of one look."""

    kind: str  # "tick", "bar" or "signal"
    source: str  # name of the stream, or `BARS` or `SIGNALS`
    first: int  # seq of the first row
    last: int  # position of the source behind these rows
    rows: Sequence[Encoded]
    size: int

    @classmethod
    def of(cls, kind: str, source: str, last: int, rows: Sequence[Encoded]) -> Entry:
        """Return the entry of some rows."""
        size = sum(len(row) for _, _, row in rows) + ROW_OVERHEAD_BYTES * len(rows)
        return cls(kind, source, min((seq for _, seq, _ in rows), default=last), last, rows, size)


class Ring:
    """The newest entries, in order, each with a number.

    Attributes
    ----------
    first, end
        Number of the oldest entry, and of the next one to come.
    floor
        Source -> position of the newest entry of it that has left the ring.
    """

    def __init__(self, bytes_max: int = RING_BYTES_MAX) -> None:
        self.first = self.end = 0
        self.floor: dict[str, int] = {}
        self.bytes = 0
        self._bytes_max = bytes_max
        self._entries: deque[Entry] = deque()

    def add(self, entry: Entry) -> None:
        """Add an entry; the oldest ones leave when there is no room."""
        self._entries.append(entry)
        self.end += 1
        self.bytes += entry.size
        while self.bytes > self._bytes_max and len(self._entries) > 1:
            self._drop()

    def clear(self) -> None:
        """Drop all entries."""
        while self._entries:
            self._drop()

    def skip(self) -> None:
        """Drop all entries and leave one out, so that nobody goes on as if nothing was missing."""
        self.clear()
        self.end += 1
        self.first = self.end

    def since(self, number: int) -> Iterator[Entry]:
        """Return the entries from a number on."""
        return islice(self._entries, max(number - self.first, 0), None)

    def _drop(self) -> None:
        entry = self._entries.popleft()
        self.first += 1
        self.bytes -= entry.size
        self.floor[entry.source] = max(self.floor.get(entry.source, 0), entry.last)
