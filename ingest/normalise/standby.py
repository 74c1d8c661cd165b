"""Merge two connections with the same keys into one journal stream; take each tick once. Pure.

The journal has the frames of both, each record with the number of its socket. The first to bring an
update is believed; there is no leader to replace, so losing one connection loses no data.
An update is a duplicate if it shows no new trade, and the other socket

- has brought an update of the instrument with the same or a later time, or
- has brought exactly the same content.

A new socket joins for an instrument once the other has reached its time. Otherwise the newcomer
overtakes updates in flight, and several trades merge into one row. Until then its updates are left
out and it covers nothing; this takes a frame or two. If the other socket dies earlier, that is
recorded as a gap.

A time missed by both sockets is a break, as with one connection. An instrument of which neither has
spoken since it connected is not covered, and its next update is a snapshot. All this depends only on
the records and their order, so a replay gets the same result as the live run.
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
    """Keys whose last connection an event has ended."""

    whole: bool  # the whole stream, as with a single connection
    places: list[int]  # otherwise these instruments, as rows of `InstrumentStates`


@dataclass(slots=True)
class _Said:
    """State of one instrument on both connections."""

    ms: list[int] = field(default_factory=lambda: [0] * SOCKETS)  # time of each socket's last update, by its own frames
    covers: list[bool] = field(default_factory=lambda: [False] * SOCKETS)  # no update is lost that this socket brings
    joins_ms: list[int] = field(default_factory=lambda: [0] * SOCKETS)  # not covered: last update left out
    by: int = 0  # socket of the last update taken
    digest: bytes = b""  # of that update
    ltt_ms: int = 0  # newest trade taken
    vtt: int = 0

    def is_duplicate(self, socket: int, ms: int, ltt_ms: int, vtt: int, digest: bytes) -> bool:
        """Return whether an update of a socket brings nothing new."""
        if ltt_ms > self.ltt_ms or (ltt_ms == self.ltt_ms and vtt > self.vtt):
            return False
        other = 1 - socket
        return ms <= self.ms[other] or (digest == self.digest and self.by == other)

    def joined(self, socket: int, ms: int, other_ms: int) -> bool:
        """Return whether a socket that did not cover the instrument covers it from this update on.

        `other_ms` is the time that the other socket has reached.
        """
        if self.covers[1 - socket]:
            left_out_ms = self.joins_ms[socket]
            if not left_out_ms or other_ms < left_out_ms or ms <= left_out_ms:
                self.joins_ms[socket] = max(left_out_ms, ms)
                return False
        self.joins_ms[socket] = 0
        self.covers[socket] = True
        return True

    def take(self, socket: int, ltt_ms: int, vtt: int, digest: bytes) -> None:
        """Note an update that was taken."""
        self.by, self.digest = socket, digest
        if ltt_ms >= self.ltt_ms:
            self.ltt_ms, self.vtt = ltt_ms, vtt


class Standby:
    """The two sockets of a stream; while `run` is empty there is one socket, and nothing is remembered."""

    def __init__(self) -> None:
        self.run = ""  # the process that owns the connections: those of another process no longer listen
        self._up = [False] * SOCKETS
        self._said: dict[int, _Said] = {}
        self._newest_ms = [0] * SOCKETS  # newest frame time of each socket

    def note(self, record: Record, places: Iterable[int] = ()) -> LostKeys:
        """Take an event; return what nobody listens to any more.

        Parameters
        ----------
        record
            Connected, disconnected or unsubscribed.
        places
            The instruments that were unsubscribed, as rows of `InstrumentStates`.
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
        """Return the time that the other socket had reached at each of the next frames, in order of arrival."""
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
        """Return which updates are not duplicates.

        Parameters
        ----------
        updates
            As sent.
        order
            Indices of the updates to check, each instrument in order of arrival.
        places, sockets, current_ms, others_ms
            For each of these: row in `InstrumentStates`, socket, time of its frame, time the other socket had reached.
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
        """Return whether nothing would be missed if the other socket died now."""
        return all(self._covers(said, socket) for said in self._said.values() if said.covers[1 - socket])

    def _covers(self, said: _Said, socket: int) -> bool:
        """Return whether a socket covers an instrument, or will with its next update."""
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
        standby = cls()
        standby.run, standby._up, standby._newest_ms = dumped["run"], list(dumped["up"]), list(dumped["newest_ms"])
        for place, one in dumped["said"].items():
            by, digest, ltt_ms, vtt = one[6:]
            standby._said[int(place)] = _Said(one[:2], one[2:4], one[4:6], by, bytes.fromhex(digest), ltt_ms, vtt)
        return standby

    def _connect(self, socket: int, run: str) -> bool:
        """Note a connection; return whether nobody listened before it."""
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
        """Note that a socket no longer brings some instruments; return those that no socket brings now."""
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
    """Return a row of numbers per update; rows are equal if the updates have the same content."""
    carried = updates.carried[order]
    for sent, names in _GROUPS:
        places = [CARRIED_NAMES.index(name) for name in names]
        carried[np.ix_(~getattr(updates, sent)[order], places)] = 0.0
    return np.column_stack([*(getattr(updates, name)[order].astype(np.float64) for name in _LEAD), carried])
