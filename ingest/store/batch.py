"""Batches: the content of one transaction of the writer, and the position where a stream resumes. Data only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.market.session_opens import SessionOpen
from ingest.model.findings import HELD_BACK, Break, OfficialBar, RejectedUpdate, Unheard, VolumeGap
from ingest.model.records import Position, Record
from ingest.model.ticks import Floats
from ingest.store.row_buffer import RowBuffer


@dataclass(frozen=True, slots=True)
class QuarantinedFrame:
    """A frame that does not parse, kept with its full payload and the reason."""

    seq: int
    end_offset: int
    received_us: int
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class RejectedTick:
    """An update that was not stored as a tick, and the reason."""

    seq: int
    end_offset: int
    instrument_id: int | None
    tick: dict[str, Any]
    reason: str
    sqlstate: str | None = None
    updates: int = 1  # updates of the frame that were rejected for this reason
    held_back: bool = False  # its key was beyond the daily limit of unknown keys, which the frame alone does not show


@dataclass(slots=True)
class Batch:
    """The rows and findings of a range of one journal segment, with counters of its records."""

    segment: str
    offset_start: int
    rows: RowBuffer
    offset_end: int = 0
    first_seq: int = 0
    last_seq: int = 0
    frames: int = 0
    duplicates: int = 0
    digest: str = ""
    quarantined: list[QuarantinedFrame] = field(default_factory=list)
    rejected: list[RejectedTick] = field(default_factory=list)
    gaps: list[VolumeGap] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    unheard: list[Unheard] = field(default_factory=list)
    official: list[OfficialBar] = field(default_factory=list)
    opens: list[SessionOpen] = field(default_factory=list)
    depth: list[Floats] = field(default_factory=list)  # order books, in parts; see `depth_rows`
    checkpoint: bytes | None = None

    @property
    def has_findings(self) -> bool:
        """Whether there is anything but ticks to write."""
        found = self.rejected or self.quarantined or self.gaps or self.breaks or self.unheard or self.official
        return bool(found or self.opens or self.checkpoint is not None)

    @property
    def rejected_updates(self) -> int:
        """Number of rejected updates and rows."""
        return sum(tick.updates for tick in self.rejected)


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a stream resumes, as read from the database."""

    committed: Position | None
    digest: str
    last_seq: int
    checkpoint: Position | None
    state: bytes

    def from_start(self) -> Resume:
        """Return a copy without the checkpoint, for a source that is read again from its start."""
        return replace(self, checkpoint=None, state=b"")


def rejected_ticks(found: Iterable[RejectedUpdate], records: Sequence[Record]) -> list[RejectedTick]:
    """Convert updates that the rules reject to the form that is stored; `records` are the records of their frames."""
    return [
        RejectedTick(
            records[one.frame].seq,
            records[one.frame].end_offset,
            one.instrument_id,
            one.update._asdict(),
            one.reason,
            updates=one.updates,
            held_back=one.reason == HELD_BACK,
        )
        for one in found
    ]


def plain(value: Any) -> Any:
    """Return a value that jsonb accepts: without NaN, infinity or NUL characters."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value.replace("\0", "\\0")
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value
