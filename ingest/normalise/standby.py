"""Pair: two connections with the same keys in one journal stream, each tick taken once. Pure.

Frames of both are in the journal, each record with the number of its socket. Whichever says a thing
first is believed; there is no leader to be replaced, so a connection that dies is missed by nobody.
An update is a duplicate when it shows no trade that is new, and the other socket

- has said something of the instrument at its time or later, or
- has said the very same.

A socket that comes anew joins in for an instrument when the other has come to where it is: what the
other has on its way would be overtaken else, and its trades would be one row. Until then the newcomer
is left out and covers nothing; that takes a frame or two. If the other dies before, that is a gap,
and is said to be one.

What both sockets left out is a break as ever; an instrument of which neither has spoken since it
connected is not covered, and its next update is a snapshot. All this follows from the records in
their order: a replay finds what the live run found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from ingest.model.frames import Updates
from ingest.model.records import SOCKETS, Record, RecordKind
from ingest.model.ticks import CARRIED_NAMES, Integers, Mask

DIGEST_BYTES = 16
_GROUPS = (
    ("has_depth", ("bid", "bid_qty", "ask", "ask_qty", "tbq", "tsq")),
    ("has_greeks", ("delta", "gamma", "theta", "vega", "rho")),
    ("has_day_candle", ("day_open", "day_high", "day_low")),
)
_LEAD = ("mode", "ltp", "ltt_ms", "ltq", "vtt", "has_depth", "has_greeks", "has_day_candle", "minute_ms")


class LostKeys(NamedTuple):
    """What nobody listens to any more, by an event."""

    whole: bool  # the stream, as with a single connection
    places: list[int]  # else these instruments, as rows of `States`


@dataclass(slots=True)
class _Said:
    """What is remembered of an instrument."""

    ms: list[int] = field(default_factory=lambda: [0] * SOCKETS)  # when each socket spoke of it last, its own time
    covers: list[bool] = field(default_factory=lambda: [False] * SOCKETS)  # nothing is missed that this one says
    joins_ms: list[int] = field(default_factory=lambda: [0] * SOCKETS)  # else: the last it said that was left out
    by: int = 0  # who brought the last that was taken
    digest: bytes = b""  # of it
    ltt_ms: int = 0  # the newest trade that was taken
    vtt: int = 0

    def is_duplicate(self, socket: int, ms: int, ltt_ms: int, vtt: int, digest: bytes) -> bool:
        """Whether an update of a socket says nothing that was not said."""
        if ltt_ms > self.ltt_ms or (ltt_ms == self.ltt_ms and vtt > self.vtt):
            return False
        other = 1 - socket
        return ms <= self.ms[other] or (digest == self.digest and self.by == other)

    def joined(self, socket: int, ms: int, other_ms: int) -> bool:
        """Whether a socket that did not cover the instrument does with this update, the other having come so far."""
        if self.covers[1 - socket]:
            left_out_ms = self.joins_ms[socket]
            if not left_out_ms or other_ms < left_out_ms or ms <= left_out_ms:
                self.joins_ms[socket] = max(left_out_ms, ms)
                return False
        self.joins_ms[socket] = 0
        self.covers[socket] = True
        return True

    def take(self, socket: int, ltt_ms: int, vtt: int, digest: bytes) -> None:
        """Note an update that is news."""
        self.by, self.digest = socket, digest
        if ltt_ms >= self.ltt_ms:
            self.ltt_ms, self.vtt = ltt_ms, vtt


class Standby:
    """The two sockets of a stream; while `run` is empty there is one, and nothing is remembered."""

    def __init__(self) -> None:
        self.run = ""  # the process whose connections these are: another's do not listen any more
        self._up = [False] * SOCKETS
        self._said: dict[int, _Said] = {}
        self._newest_ms = [0] * SOCKETS  # of the frames of each

    def note(self, record: Record, places: Iterable[int] = ()) -> LostKeys:
        """Take an event; return what is lost by it.

        Parameters
        ----------
        record
            Connected, disconnected or unsubscribed.
        places
            The instruments that were unsubscribed, as rows of `States`.
        """
        if record.kind == RecordKind.CONNECTED:
            return LostKeys(self._connect(record.socket, str(json.loads(record.payload).get("pair", ""))), [])
        if not self.run:
            return LostKeys(record.kind == RecordKind.DISCONNECTED, list(places))
        if record.kind == RecordKind.UNSUBSCRIBED:
            return LostKeys(False, self._uncover(record.socket, places))
        self._up[record.socket] = False
        lost = self._uncover(record.socket, self._said)
        return LostKeys(not any(self._up), lost)

    def reach(self, frames_ms: Integers, sockets: Integers) -> Integers:
        """Return how far the other socket had come at each of some frames, which are next in order of arrival."""
        reached = np.empty((SOCKETS, len(frames_ms)), np.int64)
        for socket in range(SOCKETS):
            own = np.where(sockets == socket, frames_ms, 0)
            reached[socket] = np.maximum(np.maximum.accumulate(own), self._newest_ms[socket])
            self._newest_ms[socket] = int(reached[socket, -1])
        others: Integers = reached[1 - sockets, np.arange(len(frames_ms))]
        return others

    def news(
        self,
        updates: Updates,
        order: Integers,
        *,
        places: Integers,
        sockets: Integers,
        current_ms: Integers,
        others_ms: Integers,
    ) -> Mask:
        """Tell which updates are news.

        Parameters
        ----------
        updates
            As sent.
        order
            Which of them, each instrument's in order of arrival.
        places, sockets, current_ms, others_ms
            Of each of those: the row in `States`, who brought it, its frame's time, and how far the other had come.
        """
        contents = _contents(updates, order)
        found = np.ones(len(order), np.bool_)
        columns = (places, sockets, current_ms, others_ms, updates.ltt_ms[order], updates.vtt[order])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for row, (place, socket, ms, other_ms, ltt_ms, vtt) in enumerate(rows):
            said = self._said.setdefault(place, _Said())
            digest = blake2b(contents[row].tobytes(), digest_size=DIGEST_BYTES).digest()
            if not said.covers[socket]:
                alone = not any(said.covers)
                if not said.joined(socket, ms, other_ms):
                    found[row] = False
                    continue
            else:
                alone = False
            if alone or not said.is_duplicate(socket, ms, ltt_ms, vtt, digest):
                said.take(socket, ltt_ms, vtt, digest)
            else:
                found[row] = False
            said.ms[socket] = max(said.ms[socket], ms)
        return found

    def could_go_on(self, socket: int) -> bool:
        """Whether nothing would be missed if the other socket died now."""
        return all(self._covers(said, socket) for said in self._said.values() if said.covers[1 - socket])

    def _covers(self, said: _Said, socket: int) -> bool:
        """Whether a socket covers an instrument, or would with the next it says: the other has come to where it is."""
        return said.covers[socket] or 0 < said.joins_ms[socket] <= self._newest_ms[1 - socket]

    def dump(self) -> dict[str, Any]:
        """Return plain values for the checkpoint."""
        said = {
            place: [*one.ms, *one.covers, *one.joins_ms, one.by, one.digest.hex(), one.ltt_ms, one.vtt]
            for place, one in self._said.items()
        }
        return {"run": self.run, "up": self._up, "newest_ms": self._newest_ms, "said": said}

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Standby:
        """Rebuild what `dump` returned."""
        pair = cls()
        pair.run, pair._up, pair._newest_ms = dumped["run"], list(dumped["up"]), list(dumped["newest_ms"])
        for place, one in dumped["said"].items():
            by, digest, ltt_ms, vtt = one[6:]
            pair._said[int(place)] = _Said(one[:2], one[2:4], one[4:6], by, bytes.fromhex(digest), ltt_ms, vtt)
        return pair

    def _connect(self, socket: int, run: str) -> bool:
        """Note a connection; return whether nobody listened until it."""
        if run != self.run or not run:
            self.run, self._up = run, [False] * SOCKETS
            if not run:
                self._said.clear()
            for said in self._said.values():
                said.covers, said.joins_ms = [False] * SOCKETS, [0] * SOCKETS
        whole = not any(self._up)
        self._up[socket] = bool(run)
        return whole

    def _uncover(self, socket: int, places: Iterable[int]) -> list[int]:
        """Note that a socket speaks of instruments no more; return those of which nobody does."""
        lost = []
        for place in places:
            if (said := self._said.get(place)) is None:
                continue
            said.joins_ms[socket] = 0
            if said.covers[socket]:
                said.covers[1 - socket] = self._covers(said, 1 - socket)
                said.covers[socket] = False
                if not any(said.covers):
                    lost.append(place)
        return lost


def _contents(updates: Updates, order: Integers) -> Any:
    """Return one row of numbers for each update, equal where updates say the same."""
    carried = updates.carried[order]
    for sent, names in _GROUPS:
        places = [CARRIED_NAMES.index(name) for name in names]
        carried[np.ix_(~getattr(updates, sent)[order], places)] = 0.0
    return np.column_stack([*(getattr(updates, name)[order].astype(np.float64) for name in _LEAD), carried])
