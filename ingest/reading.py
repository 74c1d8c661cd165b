"""Reading: records that were read together, decoded, and how far they have been taken. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ingest.batch import RowBuffer
from ingest.model import Frames, Record, RecordKind

# These change what the updates after them mean.
_INTERRUPTING = {RecordKind.CONNECTED, RecordKind.UNSUBSCRIBED}


@dataclass(slots=True)
class Reading:
    """Records that were read together, decoded, and how far they have been taken."""

    segment: str
    records: list[Record]
    frames: Frames  # one for each record; an event has one without updates
    committed: int  # so many of the records are in the database already
    at: int = 0  # the next record to take

    @property
    def next_updates(self) -> int:
        """How many updates the next record has."""
        return int(self.frames.ends[self.at + 1] - self.frames.ends[self.at])

    def next_stretch(self, rows: RowBuffer) -> tuple[int, int]:
        """Move on over the records that can be taken at once, and return where they begin and end.

        There is at least one, for which the caller knows that there is room. An event begins a
        stretch, since it changes what the updates after it mean; a stretch is committed already or
        not, and its rows fit into the buffer.
        """
        start, ends = self.at, self.frames.ends
        stop = self.committed if start < self.committed else len(self.records)
        interrupting = (index for index in range(start + 1, stop) if self.records[index].kind in _INTERRUPTING)
        stop = next(interrupting, stop)
        rows.has_room(self.next_updates)  # an empty buffer makes it
        room = rows.rows_max - rows.rows
        if ends[stop] - ends[start] > room:
            stop = int(np.searchsorted(ends, ends[start] + room, side="right")) - 1
        self.at = stop
        return start, stop
