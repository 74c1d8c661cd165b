"""Listening: when a connection was up, from the journal's own records. Pure.

A break lasts from the last frame before it to the next connection, for that is all we know: a
socket may be dead for a while before anybody notices.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

from ingest.model import Record, RecordKind

KILLED = "ended without a word"  # the process was killed, or the machine went down


class Break(NamedTuple):
    """A time in which we did not listen; our clock, epoch microseconds."""

    started_us: int
    ended_us: int
    reason: str


@dataclass(slots=True)
class Listening:
    """What must be remembered of a stream's connections between records."""

    last_frame_us: int = 0  # 0: none yet
    reason: str = ""  # of the disconnection that was recorded since; "": none was

    def take(self, record: Record) -> Break | None:
        """Note a record; a connection that follows another tells the break between them."""
        if record.kind == RecordKind.FRAME:
            self.last_frame_us = record.received_us
        elif record.kind == RecordKind.DISCONNECTED:
            # The first says why; what is noted until the next connection says what kept us from it.
            self.reason = self.reason or str(json.loads(record.payload)["reason"])
        elif record.kind == RecordKind.CONNECTED:
            reason, self.reason = self.reason or KILLED, ""
            if self.last_frame_us:
                return Break(self.last_frame_us, max(record.received_us, self.last_frame_us), reason)
        return None

    def dump(self) -> dict[str, object]:
        """Return plain values for the checkpoint."""
        return asdict(self)
