"""Client: one program that listens: its kinds and keys, its place in the ring, and the events that it gets.

Must not know the connection: it makes events, and the caller sends them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from itertools import count
from typing import Any

from ingest.errors import StoreError
from ingest.live.broadcast import history
from ingest.live.broadcast.encoding import STREAM_COLUMNS, event, heartbeat, rows_event
from ingest.live.broadcast.heartbeats import with_heartbeats
from ingest.live.broadcast.history import HistoryError
from ingest.live.broadcast.hub import ALL, Hub, Keys
from ingest.live.broadcast.position import BARS, SIGNALS, EventPosition, first_seq
from ingest.live.broadcast.ring import Entry
from ingest.live.broadcast.tables import (
    BAR_COLUMNS,
    BARS_LOOKED_AT,
    COMMIT_S,
    HISTORY,
    SIGNAL_COLUMNS,
    SNAPSHOT_BARS,
    bars_between,
    signals_since,
)
from ingest.market.time import utc_of_us

KINDS = ("tick", "bar", "signal")
COLUMNS = {"tick": STREAM_COLUMNS, "bar": BAR_COLUMNS, "signal": SIGNAL_COLUMNS}
SOURCES = {"bar": BARS, "signal": SIGNALS}
HEARTBEAT_S = 5.0
EVENT_BYTES_MAX = 128 * 2**10  # an event is closed when it has more
STALLED_S = 10.0  # how long a send may wait for a client
CATCH_UP_ROUNDS = 50  # how often the ring may move on while the database is read
AHEAD_S = 5.0  # how long a recording that has just started may need to reach the position of a client
AHEAD_POLL_S = 0.05
_numbers = count(int(time.time()))  # so that no number of an earlier run comes again


class StreamClient:
    """One listener.

    Parameters
    ----------
    hub
        Where events come from.
    kinds, keys
        What it wants; keys `ALL`: every key.
    start
        Where it left off; None: it begins now.
    """

    def __init__(self, hub: Hub, kinds: frozenset[str], keys: Keys, start: EventPosition | None = None) -> None:
        self.kinds, self.keys = kinds, keys
        self.number = next(_numbers)
        self.sent_events = self.sent_ticks = 0
        self._hub, self._start = hub, start
        self._collector = hub.source.streams[0].settings.collector
        self._since_s = time.monotonic()
        self._sending_since_s: float | None = None
        self._reached: dict[str, int] = {}
        self._place = 0  # number of the next entry of the ring
        self._ended = asyncio.Event()
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Let it look for new entries of the ring."""
        self._news.set()

    def end(self) -> None:
        """End the events."""
        self._ended.set()
        self._news.set()

    @property
    def position(self) -> str:
        """The position behind the events so far."""
        return EventPosition(self._collector, self._reached, self.number).text()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield events until the client is too slow, or the recording ends; the caller must close the iterator."""
        hub = self._hub
        hub.join(self)
        try:
            problem = await self._problem() if self._start is not None else None
            resumes = self._start is not None and not problem
            self._place = hub.ring.end
            self._reached = self._resumed(self._start) if resumes and self._start else self._now()
            states = [] if resumes or "tick" not in self.kinds else await hub.last_ticks(self.keys)
            yield self._hello(resumed=resumes)
            if resumes:
                caught_up = with_heartbeats(self._catch_up(), self._ended, self._heartbeat, HEARTBEAT_S)
                async with aclosing(caught_up) as texts:
                    async for text in texts:
                        yield text
            else:
                if problem and self._start is not None:
                    yield self._missed(problem, self._start.text())
                async for text in self._snapshots(states):
                    yield text
            told_s = time.monotonic()
            while not self._ended.is_set():
                if self._place < hub.ring.first:
                    self.cut_off("it reads more slowly than events come")
                    return
                for text in self._new_events():
                    yield text
                    told_s = time.monotonic()
                if self._place < hub.ring.end:
                    continue
                if time.monotonic() - told_s >= HEARTBEAT_S:
                    self._move_quietly()
                    yield self._heartbeat()
                    told_s = time.monotonic()
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._news.wait()
                self._news.clear()
        finally:
            hub.leave(self)

    def sent(self, size: int) -> None:
        """Count an event that was sent."""
        self.sent_events += 1
        self._hub.counts.events += 1
        self._hub.counts.bytes += size

    def cut_off(self, reason: str) -> None:
        """Count what this client has not read, and end it."""
        dropped = sum(len(self._mine(entry)) for entry in self._hub.ring.since(self._place))
        self._hub.note_cut_off(self.number, dropped, reason)
        self._ended.set()

    def account(self) -> dict[str, Any]:
        """Return its figures, for the status."""
        return {
            "client": self.number,
            "kinds": sorted(self.kinds),
            "keys": "all" if self.keys is ALL else len(self.keys),
            "connected_s": round(time.monotonic() - self._since_s, 1),
            "events": self.sent_events,
            "ticks": self.sent_ticks,
            "waiting_entries": self._hub.ring.end - max(self._place, self._hub.ring.first),
        }

    def _heartbeat(self) -> bytes:
        return heartbeat(self.position)

    # --- where it begins

    def _now(self) -> dict[str, int]:
        tables = self._hub.reached_tables()
        return (self._hub.reached() if "tick" in self.kinds else {}) | {
            source: tables[source] for kind, source in SOURCES.items() if kind in self.kinds and source in tables
        }

    def _resumed(self, start: EventPosition) -> dict[str, int]:
        """Return where a client continues. A connection that its position lacks is new, or was left out by a person."""
        found = self._now()
        for source in found:
            if source in start.reached:
                found[source] = start.reached[source]
            elif start.client is not None and (stream := self._hub.stream(source)) is not None:
                found[source] = max(stream.first_seq - 1, first_seq(source))
        found |= {
            source: start.reached[source]
            for kind, source in SOURCES.items()
            if kind in self.kinds and source in start.reached
        }
        return found

    async def _problem(self) -> str | None:
        """Return why its position means nothing here."""
        start, until_s = self._start, time.monotonic() + AHEAD_S
        assert start is not None
        while (problem := self._problem_now(start)) and start.collector == self._collector:
            if time.monotonic() > until_s or self._ended.is_set():
                break
            await asyncio.sleep(AHEAD_POLL_S)
        return problem

    def _problem_now(self, start: EventPosition) -> str | None:
        now = self._hub.reached()
        if start.collector != self._collector:
            return f"the position is of collector {start.collector!r}, this is {self._collector!r}"
        unknown = [name for name in start.reached if name not in now and name not in {BARS, SIGNALS}]
        if unknown:
            return f"the position names connection {unknown[0]}, which does not run"
        ahead = [name for name, seq in now.items() if start.reached.get(name, 0) > seq]
        if ahead:
            return f"the position is ahead of the recording, whose last record is {now[ahead[0]]}"
        return None

    def _hello(self, *, resumed: bool) -> bytes:
        recorded = {key for stream in self._hub.source.streams for key in stream.feed.keys}
        said: dict[str, object] = {
            "client": self.number,
            "collector": self._collector,
            "kinds": sorted(self.kinds, key=KINDS.index),
            "keys": "all" if self.keys is ALL else sorted(self.keys),
            "not_recorded": [] if self.keys is ALL else sorted(self.keys - recorded),
            "resumed": resumed,
            "cut_off": self._hub.cut_off(self._start.client if self._start else None),
        }
        return event("hello", said, at=self.position)

    async def _snapshots(self, states: list[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield the last state of each key."""
        if "tick" in self.kinds:
            yield self._rows("tick", states, is_snapshot=True)
        at = self._hub.source.market_time()
        keys = None if self.keys is ALL else sorted(self.keys)
        if at is None or not self.kinds & SOURCES.keys():
            return
        try:
            if "bar" in self.kinds:
                end = at.replace(second=0, microsecond=0)
                bars = await bars_between(self._hub.questions, keys, end - SNAPSHOT_BARS, end)
                yield self._rows("bar", list({row[0]: text for row, text in bars}.values()), is_snapshot=True)
            if "signal" in self.kinds:
                found = await signals_since(self._hub.questions, keys, at - HISTORY, 0)
                yield self._rows("signal", [text for _, text in found], is_snapshot=True)
        except StoreError as exc:
            yield self._missed(f"bars and signals so far cannot be read: {exc}", "")

    async def _catch_up(self) -> AsyncGenerator[bytes, None]:
        """Yield what came since its position and is no longer in the ring, until the ring has the rest."""
        before = self.position
        try:
            async for text in self._old_rows():
                yield text
            if "tick" in self.kinds:
                async for text in self._old_ticks():
                    yield text
        except HistoryError as exc:
            self._place = self._hub.ring.end
            self._reached = self._now()
            yield self._missed(str(exc), before)
            async for text in self._snapshots(await self._hub.last_ticks(self.keys) if "tick" in self.kinds else []):
                yield text

    async def _old_ticks(self) -> AsyncGenerator[bytes, None]:
        hub = self._hub
        keys = None if self.keys is ALL else sorted(self.keys)
        for _ in range(CATCH_UP_ROUNDS):
            begins = hub.begins(self.keys)
            behind = {name: seq for name, seq in begins.items() if self._reached[name] < seq}
            if not behind:
                self._place = hub.ring.first
                return
            for name, until in behind.items():
                stream = hub.stream(name)
                assert stream is not None
                async for last, rows in history.ticks(
                    hub.questions,
                    collector=self._collector,
                    stream=name,
                    keys=keys,
                    after=self._reached[name],
                    until=until,
                    committed=lambda stream=stream: stream.consumer.counts.committed_seq,  # type: ignore[misc]
                ):
                    self._reached[name] = last
                    if rows:
                        yield self._rows("tick", rows)
        raise HistoryError("ticks come faster than the database gives the old ones")

    async def _old_rows(self) -> AsyncGenerator[bytes, None]:
        """Yield bars and signals since its position; some may come again, because both are found by time."""
        at, questions = self._hub.source.market_time(), self._hub.questions
        keys = None if self.keys is ALL else sorted(self.keys)
        if at is None:
            return
        if "bar" in self.kinds and BARS in self._reached:
            since = utc_of_us(self._reached[BARS] * 1_000_000)
            if at - since > HISTORY:
                raise HistoryError(f"the bars are of more than {HISTORY.days} day: read them from the database")
            end = at.replace(second=0, microsecond=0)
            bars = await history.patiently(lambda: bars_between(questions, keys, since - BARS_LOOKED_AT, end))
            if bars:
                self._reached[BARS] = int(bars[-1][0][2].timestamp()) + 60
                yield self._rows("bar", [text for _, text in bars])
        if "signal" in self.kinds and SIGNALS in self._reached:
            after_us = self._reached[SIGNALS] - COMMIT_S * 1_000_000
            found = await history.patiently(lambda: signals_since(questions, keys, at - HISTORY, after_us))
            if found:
                newest_us = int(found[-1][0][9].timestamp() * 1_000_000)
                self._reached[SIGNALS] = max(self._reached[SIGNALS], newest_us)
                yield self._rows("signal", [text for _, text in found])

    # --- the tail

    def _new_events(self) -> list[bytes]:
        """Return the events of all new entries; rows of one kind are gathered."""
        made: list[bytes] = []
        kind, size = "", 0
        rows: list[bytes] = []
        for entry in self._hub.ring.since(self._place):
            self._place += 1
            mine = self._mine(entry)
            if mine and (entry.kind != kind or size > EVENT_BYTES_MAX) and rows:
                made.append(self._rows(kind, rows))
                rows, size = [], 0
            if entry.kind in self.kinds:
                self._reached[entry.source] = max(entry.last, self._reached.get(entry.source, 0))
            if mine:
                kind = entry.kind
                rows += mine
                size += sum(map(len, mine))
        if rows:
            made.append(self._rows(kind, rows))
        return made

    def _mine(self, entry: Entry) -> list[bytes]:
        """Return the rows of an entry that this client wants and has not had."""
        reached = self._reached.get(entry.source, 0)
        if entry.kind not in self.kinds or entry.last <= reached:
            return []
        keys, all_are_new = self.keys, entry.kind != "tick" or entry.first > reached
        if keys is ALL and all_are_new:
            return [row for _, _, row in entry.rows]
        return [row for key, seq, row in entry.rows if (keys is ALL or key in keys) and (all_are_new or seq > reached)]

    def _move_quietly(self) -> None:
        """Move its position although nothing came for it: otherwise it would look there again when it resumes."""
        if "tick" in self.kinds and not self._hub.has_pending:
            for name, seq in self._hub.reached().items():
                self._reached[name] = max(seq, self._reached.get(name, 0))

    def _rows(self, kind: str, rows: list[bytes], *, is_snapshot: bool = False) -> bytes:
        self.sent_ticks += len(rows) if kind == "tick" and not is_snapshot else 0
        if is_snapshot:
            return rows_event("snapshot", COLUMNS[kind], rows, of=kind, at=self.position)
        return rows_event(kind, COLUMNS[kind], rows, at=self.position)

    def _missed(self, reason: str, since: str) -> bytes:
        return event("missed", {"reason": reason, "from": since or None, "to": self.position}, at=self.position)
