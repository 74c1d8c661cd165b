"""Hub: take the ticks of a recording while somebody listens, encode each once, and let the clients read them.

    consumer ──rows──► take ──► run: encode ──► ring ──► clients, each at its own place
    database ──bars, signals──────────────────►

It hears the consumers only while there are clients, and for `GRACE_S` after the last, so that one that comes back finds
its ticks here. Everything runs on the recorder's event loop, in slices of a fraction of a millisecond: a thread would
hold Python's lock for as long, but at a time of its own choice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import numpy as np

from ingest.errors import StoreError
from ingest.live.broadcast.counts import HubCounts
from ingest.live.broadcast.encoding import Encoded, beginning, encoded_states, encoded_ticks, last_rows
from ingest.live.broadcast.position import BARS, SIGNALS, first_seq
from ingest.live.broadcast.ring import Entry, Ring
from ingest.live.broadcast.tables import BarTail, SignalTail
from ingest.live.ingestion import Ingestion
from ingest.live.stream import Stream
from ingest.live.tick_handlers import Names
from ingest.model.ticks import TICK_COLUMN_NAMES, Floats, Mask

log = logging.getLogger(__name__)

GRACE_S = 60.0  # how long ticks of a client are kept after it has gone
GATHER_S = 0.05  # events are made at most this often: a smaller number costs more sends than it saves time
SLICE_ROWS = 100  # encoded at once, half a millisecond; fewer rows cost nearly as much, because it goes by column
ENTRY_ROWS_MAX = 500  # of several reads that become one entry
PENDING_ROWS_MAX = 20_000  # taken and not encoded yet, 4.5 MB
LOOK_S = 2.0  # how often the tables are looked at
BAR_DELAY = timedelta(seconds=3)  # after a minute, so that its last ticks are committed
CUT_OFF_KEPT = 100  # clients that were cut off, to be told when they come back
ALL = None  # keys of a client that wants every key

_ID = TICK_COLUMN_NAMES.index("instrument_id")
Keys = frozenset[str] | None
Name = Callable[[int], tuple[str, bytes]]


class Listener(Protocol):
    """A client, as the hub knows it."""

    kinds: frozenset[str]
    keys: Keys

    def wake(self) -> None: ...
    def end(self) -> None: ...
    def account(self) -> dict[str, Any]: ...


@dataclass(slots=True)
class _Watched:
    """A key, or all keys, that a client listens to, or listened to until recently."""

    clients: int
    since: dict[str, int]  # stream -> seq before the first record whose ticks are kept
    left_s: float = 0.0  # when the last client left


@dataclass(slots=True)
class _Pending:
    """Rows that are not encoded yet."""

    stream: str
    seq: int
    rows: Floats
    names: Names = field(repr=False)


class Hub:
    """The one place where events are made.

    Parameters
    ----------
    source
        The running ingestion.

    Attributes
    ----------
    ring
        The newest events.
    clients
        Who listens now.
    counts
        Counters.
    """

    def __init__(self, source: Ingestion) -> None:
        self.source = source
        # Its own turn: a question of another part must not hold up a client that resumes.
        self.questions = source.questions.beside()
        source.broadcast = self
        self.ring = Ring()
        self.clients: list[Listener] = []
        self.counts = HubCounts()
        self._watched: dict[str | None, _Watched] = {}
        self._pending: deque[_Pending] = deque()
        self._pending_rows = 0
        self._masks: dict[str, tuple[Names, Mask]] = {}  # stream -> its names, and which of its ids are watched
        self._beginnings: dict[tuple[str, str | None], bytes] = {}
        self._came = asyncio.Event()
        self._is_heard = False
        self._cut_off: dict[int, dict[str, Any]] = {}  # number of a client -> what it is told when it comes back
        self._bars: BarTail | None = None
        self._signals: SignalTail | None = None
        self.is_closed = False

    # --- for the consumers

    def take(self, stream: Stream, rows: Floats, names: Names) -> None:
        """Take rows of a stream; called on the way from journal to database, so it only copies what is watched."""
        known = self._masks.get(stream.name)
        if known is None or known[0] is not names:
            known = self._masks[stream.name] = names, self._mask(names)
        rows = rows[known[1][rows[:, _ID].astype(np.int64)]]
        if not len(rows):
            return
        if self._pending_rows + len(rows) > PENDING_ROWS_MAX:  # the loop has no time for us
            log.warning("stream is behind, its clients read from the database rows=%d", self._pending_rows)
            self._pending.clear()
            self._pending_rows = 0
            self._forget_ticks()
            return
        self._pending.append(_Pending(stream.name, stream.consumer.state.taken_seq, rows, names))
        self._pending_rows += len(rows)
        self._came.set()

    def _mask(self, names: Names) -> Mask:
        mask = np.zeros(max(names.keys, default=0) + 1, np.bool_)
        everything = ALL in self._watched
        mask[[id_ for id_, key in names.keys.items() if everything or key in self._watched]] = True
        return mask

    def _name_of(self, names: Names) -> Name:
        def name_of(id_: int) -> tuple[str, bytes]:
            key = names.keys[id_]
            symbol = names.symbols.get(id_)
            if (begin := self._beginnings.get((key, symbol))) is None:
                begin = self._beginnings[key, symbol] = beginning(key, symbol)
            return key, begin

        return name_of

    # --- for the clients

    def join(self, client: Listener) -> None:
        """Let a client listen; its keys are watched from now on."""
        self.counts.clients += 1
        self.clients.append(client)
        for key in self._keys_of(client):
            if (known := self._watched.get(key)) is None:
                known = self._watched[key] = _Watched(0, self.reached())
                self._masks.clear()
            known.clients += 1
        if self.is_closed:
            client.end()
            return
        self._is_heard = True
        if self._watched:
            self.source.pass_on(wanted=True)
        self._came.set()

    def leave(self, client: Listener) -> None:
        """Let a client go; its keys are watched for a while longer."""
        if client not in self.clients:
            return
        self.clients.remove(client)
        for key in self._keys_of(client):
            known = self._watched[key]
            known.clients -= 1
            known.left_s = time.monotonic()

    def note_cut_off(self, number: int, dropped: int, reason: str) -> None:
        """Count a client that was too slow, and remember it for when it comes back."""
        log.warning("stream client cut off client=%d dropped=%d reason=%s", number, dropped, reason)
        self.counts.cut_off += 1
        self.counts.dropped += dropped
        self._cut_off[number] = {"reason": reason, "dropped": dropped}
        while len(self._cut_off) > CUT_OFF_KEPT:
            del self._cut_off[next(iter(self._cut_off))]

    def cut_off(self, number: int | None) -> dict[str, Any] | None:
        """Return why a client was cut off before, and how many events it had not read; None: it was not."""
        return None if number is None else self._cut_off.pop(number, None)

    def reached(self) -> dict[str, int]:
        """Return the last seq of each stream whose ticks were taken."""
        return {
            stream.name: max(
                stream.consumer.state.taken_seq, stream.consumer.counts.committed_seq, first_seq(stream.name)
            )  # after a restart the committed records are decoded again first
            for stream in self.source.streams
        }

    def reached_tables(self) -> dict[str, int]:
        """Return the positions of bars and signals that were looked at, or else those of now."""
        found = {SIGNALS: self._signals.until_us if self._signals is not None else time.time_ns() // 1000}
        until = self._bars.until if self._bars is not None else None
        if (end := until or self.source.market_time()) is not None:
            found[BARS] = int(end.timestamp()) // 60 * 60
        return found

    @property
    def has_pending(self) -> bool:
        """Whether ticks were taken that are not in the ring yet."""
        return self._pending_rows > 0

    def begins(self, keys: Keys) -> dict[str, int]:
        """Return for each stream the seq behind which the ring has all ticks of some keys."""
        always = self._watched.get(ALL)
        floors = dict.fromkeys((stream.name for stream in self.source.streams), 0)
        for key in (ALL,) if keys is ALL else keys:
            of_key = [known.since for known in (self._watched.get(key), always) if known is not None]
            for name in floors:
                floors[name] = max(floors[name], min(since.get(name, 0) for since in of_key))
        return {name: max(floor, self.ring.floor.get(name, 0)) for name, floor in floors.items()}

    async def last_ticks(self, keys: Keys) -> list[bytes]:
        """Return the last state of keys at the moment of the call, as rows."""
        found = []
        for stream in self.source.streams:
            mine = [key for key in stream.feed.keys if keys is ALL or key in keys]
            rows = last_rows(stream.consumer.state.normaliser.states, mine)
            found.append((rows, self._name_of(self.source.names_of(stream))))
        encoded: list[bytes] = []
        for rows, name_of in found:
            for first in range(0, len(rows), SLICE_ROWS):
                encoded += encoded_states(rows[first : first + SLICE_ROWS], name_of)
                await asyncio.sleep(0)
        return encoded

    def stream(self, name: str) -> Stream | None:
        """Return a stream by its name."""
        return next((stream for stream in self.source.streams if stream.name == name), None)

    # --- the task

    async def run(self) -> None:
        """Encode what comes and look at the tables while there are clients; end only with the recording."""
        looked_s = 0.0
        try:
            while not self.is_closed:
                if not self._is_heard:
                    await self._came.wait()
                try:
                    async with asyncio.timeout(LOOK_S):
                        await self._came.wait()
                except TimeoutError:
                    pass
                self._came.clear()
                while self._pending:
                    await self._encode(self._next())
                await self._tell()
                if time.monotonic() - looked_s >= LOOK_S:
                    looked_s = time.monotonic()
                    self._forget_left()
                    await self._look()
                    await self._tell()
                await asyncio.sleep(GATHER_S)
        finally:  # its clients would wait for ever
            self._stop()

    def _next(self) -> _Pending:
        """Return the next rows; those of several reads of a stream become one entry, as long as its names stay."""
        first = self._pending.popleft()
        parts, rows, seq = [first.rows], len(first.rows), first.seq
        while self._pending and rows < ENTRY_ROWS_MAX:
            other = self._pending[0]
            if other.stream != first.stream or other.names is not first.names:
                break
            self._pending.popleft()
            parts.append(other.rows)
            rows, seq = rows + len(other.rows), other.seq
        return _Pending(first.stream, seq, np.concatenate(parts), first.names)

    async def _encode(self, pending: _Pending) -> None:
        """Add rows to the ring, all at once: a position stands behind whole frames."""
        rows: list[Encoded] = []
        name_of = self._name_of(pending.names)
        for first in range(0, len(pending.rows), SLICE_ROWS):
            rows += encoded_ticks(pending.rows[first : first + SLICE_ROWS], name_of)
            await asyncio.sleep(0)
        self._pending_rows = max(self._pending_rows - len(pending.rows), 0)
        self.counts.ticks += len(rows)
        self.ring.add(Entry.of("tick", pending.stream, pending.seq, rows))

    async def _tell(self) -> None:
        """Wake the clients one by one: all at once they would hold up the loop for as long as they take together."""
        for client in list(self.clients):
            client.wake()
            await asyncio.sleep(0)

    def _forget_left(self) -> None:
        """Stop watching keys whose clients do not come back, and stop listening when there are none."""
        before_s = time.monotonic() - GRACE_S
        gone = [key for key, known in self._watched.items() if not known.clients and known.left_s < before_s]
        for key in gone:
            del self._watched[key]
        if gone:
            self._masks.clear()
        if not self._watched and not self.clients and self._is_heard:
            self._stop()

    def _stop(self) -> None:
        self.source.pass_on(wanted=False)
        self._is_heard = False
        for client in list(self.clients):
            client.end()
            client.wake()
        self.clients.clear()
        self._pending.clear()
        self._pending_rows = 0
        self.ring.clear()
        self._watched.clear()
        self._masks.clear()
        self._beginnings.clear()
        self._bars = self._signals = None
        self._came.clear()

    def _forget_ticks(self) -> None:
        """Start over: what was taken so far is only in the database."""
        self.ring.skip()
        self.ring.floor |= self.reached()

    async def _look(self) -> None:
        """Look for new bars and signals, if a client wants them."""
        at = self.source.market_time()
        if at is None:
            return
        try:
            is_wanted, keys = self._wanted("bar")
            if is_wanted:
                self._bars = self._bars or BarTail(self.questions)
                bars = await self._bars.look(keys, at - BAR_DELAY)
                if bars:
                    assert self._bars.until is not None
                    self.ring.add(Entry.of("bar", BARS, int(self._bars.until.timestamp()), bars))
            is_wanted, keys = self._wanted("signal")
            if is_wanted:
                self._signals = self._signals or SignalTail(self.questions, time.time_ns() // 1000)
                signals = await self._signals.look(keys, at)
                if signals:
                    self.ring.add(Entry.of("signal", SIGNALS, self._signals.until_us, signals))
        except StoreError as exc:
            log.debug("tables not looked at error=%s", exc)  # the database is away: the next look finds what it missed

    def _wanted(self, kind: str) -> tuple[bool, list[str] | None]:
        """Return whether somebody wants bars or signals, and of which keys; None: of all."""
        asking = [client for client in self.clients if kind in client.kinds]
        if any(client.keys is ALL for client in asking):
            return True, None
        return bool(asking), sorted({key for client in asking for key in client.keys or ()})

    @staticmethod
    def _keys_of(client: Listener) -> Sequence[str | None]:
        if "tick" not in client.kinds:
            return ()
        return (ALL,) if client.keys is ALL else tuple(client.keys)

    def fail(self) -> None:
        """End all clients, because a fault was found; they come back and read what they missed from the database."""
        self._stop()

    def close(self) -> None:
        """End all clients; called when the recording ends."""
        self.is_closed = True
        self._stop()
        self._came.set()

    def account(self) -> dict[str, Any]:
        """Return clients and counters, for the status."""
        return {
            "clients": len(self.clients),
            "clients_ever": self.counts.clients,
            "clients_cut_off": self.counts.cut_off,
            "dropped": self.counts.dropped,
            "ticks": self.counts.ticks,
            "events": self.counts.events,
            "bytes": self.counts.bytes,
            "watched_keys": "all" if ALL in self._watched else len(self._watched),
            "buffer_bytes": self.ring.bytes,
            "streams": [client.account() for client in self.clients],
        }
