"""Decoded records: one read of the journal, decoded, with a cursor over what has been taken. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ingest.errors import DecodeError
from ingest.market.time import day_number
from ingest.model.frames import Frames, FrameType
from ingest.model.records import Record, RecordKind
from ingest.pipeline.breaks import SILENCE_MS

# Events that change what the updates after them mean.
INTERRUPTING = {RecordKind.CONNECTED, RecordKind.DISCONNECTED, RecordKind.UNSUBSCRIBED}


@dataclass(slots=True)
class DecodedRecords:
    """Records of one read, decoded, and a cursor over what has been taken."""

    segment: str
    records: list[Record]
    frames: Frames  # one for each record; the frame of an event has no updates
    committed: int  # how many of the records are already in the database
    last_seq: int  # seq of the record before them; 0: there was none
    at: int = 0  # index of the next record to take
    named: int = 0  # the keys of all records before this index have instruments
    current_ms: list[int] = field(default_factory=list)  # time of each record; 0: an event, or a frame without a time
    trade_ms: list[int] = field(default_factory=list)  # newest trade of each record; 0: a snapshot, or no trade
    holes: dict[int, tuple[int, int]] = field(default_factory=dict)  # record index -> first and last seq missing before
    _days: list[int] = field(default_factory=list)  # indices of records that begin another day of the market
    _turns: list[int] = field(default_factory=list)  # indices that may change what the updates after them mean

    def __post_init__(self) -> None:
        frames = self.frames
        with_updates = frames.ends[1:] > frames.ends[:-1]
        times, trades = frames.current_ms.copy(), np.zeros(len(frames), np.int64)
        if frames.errors:
            times[list(frames.errors)] = 0
        if with_updates.any():
            trades[with_updates] = np.maximum.reduceat(frames.updates.ltt_ms, frames.ends[:-1][with_updates])
        trades[(frames.type == FrameType.INITIAL_FEED) | (trades > times + SILENCE_MS)] = 0
        turns, before = set[int](), self.last_seq
        for index, record in enumerate(self.records):
            if record.kind in INTERRUPTING:
                turns.add(index)
            if record.seq > before + 1:
                self.holes[index] = (before + 1, record.seq - 1)
            before = record.seq
        if len(self.records) > 1:  # no step is within one
            # Steps longer than a silence; frames after an event are among them.
            newest = np.maximum.accumulate(trades)
            jumps = (times[1:] - times[:-1] >= SILENCE_MS) | (newest[1:] - newest[:-1] >= SILENCE_MS)
            timed = times.nonzero()[0]
            days = day_number(times[timed])
            self._days = timed[1:][days[1:] != days[:-1]].tolist()
            turns.update((jumps.nonzero()[0] + 1).tolist(), self._days)
        self._turns = sorted(turns.union(self.holes))
        self.current_ms, self.trade_ms = times.tolist(), trades.tolist()

    def without(self, errors: Mapping[int, DecodeError]) -> DecodedRecords:
        """Return a copy in which the frames with errors are empty; nothing may have been taken yet."""
        assert not self.at
        return DecodedRecords(self.segment, self.records, self.frames.without(errors), self.committed, self.last_seq)

    def of_one_day(self) -> tuple[int, int]:
        """Return the end index of the next records of one day and their IST day number; -1: none of them has a time.

        Either all of these records are committed or none is.
        """
        stop = self.committed if self.at < self.committed else len(self.records)
        turn = bisect_right(self._days, self.at)
        stop = min([stop, *self._days[turn : turn + 1]])
        ms = next((ms for ms in self.current_ms[self.at : stop] if ms), 0)
        return stop, day_number(ms) if ms else -1

    @property
    def next_updates(self) -> int:
        """Number of updates of the next record."""
        return int(self.frames.ends[self.at + 1] - self.frames.ends[self.at])

    def next_stretch(self, room: int) -> tuple[int, int]:
        """Advance over the records that can be taken at once; return their half-open index range.

        The range holds at least one record; the caller makes sure that it fits. An event or a frame
        after a silence begins a new range, because it changes what the updates after it mean. Either
        all records of a range are committed or none is, and it makes at most `room` rows.
        """
        start, ends = self.at, self.frames.ends
        stop = self.committed if start < self.committed else len(self.records)
        turn = bisect_right(self._turns, start)
        stop = min([stop, *self._turns[turn : turn + 1]])
        if ends[stop] - ends[start] > room:
            stop = int(np.searchsorted(ends, ends[start] + room, side="right")) - 1
        self.at = stop
        return start, stop
