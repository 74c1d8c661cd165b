"""Batches: what one transaction of the writer holds, and where a stream goes on. Nouns only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.market.session_opens import SessionOpen
from ingest.model.findings import HELD_BACK, Break, OfficialBar, RejectedUpdate, Unheard, VolumeGap
from ingest.model.records import Position, Record
from ingest.store.row_buffer import RowBuffer


@dataclass(frozen=True, slots=True)
class QuarantinedFrame:
    """A frame that does not parse: kept whole, with the reason."""

    seq: int
    end_offset: int
    received_us: int
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class RejectedTick:
    """An update that makes no row, and why."""

    seq: int
    end_offset: int
    instrument_id: int | None
    tick: dict[str, Any]
    reason: str
    sqlstate: str | None = None
    updates: int = 1  # of the frame, for the same reason
    held_back: bool = False  # the frame alone does not say so: it is one of too many keys that no list has


@dataclass(slots=True)
class Batch:
    """The rows of a range of one journal segment, and the account of that range."""

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
    checkpoint: bytes | None = None

    @property
    def rejected_updates(self) -> int:
        """How many updates and rows were rejected."""
        return sum(tick.updates for tick in self.rejected)


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a stream goes on, as the database knows it."""

    committed: Position | None
    digest: str
    last_seq: int
    checkpoint: Position | None
    state: bytes

    def from_start(self) -> Resume:
        """Resume without the checkpoint: for a source that is read again from its begin."""
        return replace(self, checkpoint=None, state=b"")


def rejected_ticks(found: Iterable[RejectedUpdate], records: Sequence[Record]) -> list[RejectedTick]:
    """Return updates that the rules reject as they are stored; `records` are those of their frames."""
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
    """Return a value that jsonb can hold: it has no NaN, no infinity and no NUL."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value.replace("\0", "\\0")
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value
