"""Written collector: one collector elsewhere, and whether this process is the one that writes it.

    unreachable ─► standby ─► writing        standby: another process holds the collector's lease
         ▲            ▲          │
         └────────────┴──────────┘           whenever the lease, the database or the collector is lost

Each time it begins where the ledger ends, so nothing has to be handed over.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, Protocol

from ingest.backoff import backoff_s
from ingest.errors import ConfigError, JournalError, StoreError, TicklineError, first_error
from ingest.live.distributed.leased_writer import LeasedWriter, LeaseLostError
from ingest.live.distributed.written_stream import WrittenStream
from ingest.model.records import Position
from ingest.settings import Settings
from ingest.store.retrying_writer import Abandoned
from ingest.store.writer import CollectorInUseError, LedgerBehindError
from ingest.transport.segments import Listing, SegmentGoneError, SegmentSource, UnreachableError

log = logging.getLogger(__name__)

FIRST_S, MAX_S = 0.1, 2.0  # waits after failures; the longest is also how soon a database that is back is seen
TELL_S = 1.0  # between two looks for what may be told to the collector
WATCH_S = 0.2
LIST_S = 5.0  # between two looks for new streams
# A process that writes other collectors gives way by this for each, so that several processes share them.
GIVE_WAY_S, GIVE_WAY_S_MAX = 0.5, 2.0


class Collector(SegmentSource, Protocol):
    """A segment source that can be closed."""

    name: str
    tells: bool

    async def close(self) -> None:
        """Close its connections and files."""


class WrittenCollector:
    """One collector, until `stop`.

    Parameters
    ----------
    settings, url
        Settings, and URL of the database.
    source
        Where its segments are.
    others
        Returns how many other collectors this process writes.

    Attributes
    ----------
    collector
        Its name; "": not known yet.
    state
        "unreachable", "standby", "waiting" (for the database) or "writing".
    error
        Why it is not written here; "": it is, or another process does.
    streams
        Those that are written here.
    takeovers
        How often this process has begun to write it.
    """

    def __init__(self, settings: Settings, url: str, source: Collector, others: Callable[[], int]) -> None:
        self.source = source
        self.collector = ""
        self.state = "unreachable"
        self.error = ""
        self.streams: dict[str, WrittenStream] = {}
        self.takeovers = 0
        self.writer: LeasedWriter | None = None
        self._settings, self._url, self._others = settings, url, others
        self._told: dict[str, Position] = {}
        self._untold = ""
        self._before = (0, 0)  # ticks and frames that it committed under earlier leases
        self._stopping = asyncio.Event()
        self._failures = 0
        self._rng = random.Random()  # noqa: S311  jitter is not a secret

    def stop(self) -> None:
        """End it when what was fetched is committed."""
        self._stopping.set()
        for stream in self.streams.values():
            stream.stop()

    def abandon(self) -> None:
        """End it now; what is not committed stays in the journal."""
        if self.writer is not None:
            self.writer.abandon()

    async def run(self) -> None:
        """Write it whenever this process can, until `stop`."""
        try:
            while not self._stopping.is_set():
                await self._try()
        finally:
            await self.source.close()

    async def _try(self) -> None:
        """Find the collector, take its lease and write it until something is lost."""
        try:
            listing = await self.source.streams()
            self.collector = listing.collector
            if others := self._others():
                await self._pause(min(others * GIVE_WAY_S, GIVE_WAY_S_MAX))
            await self._write(listing)
            return
        except BaseExceptionGroup as group:
            error = first_error(group)
        except TicklineError as exc:
            error = exc
        self._before = self.written()
        self.writer, self.streams = None, {}
        match error:
            case Abandoned():
                return
            case CollectorInUseError():
                self._note("standby", "", logging.INFO, f"another process writes it: {error}")
                return
            case UnreachableError() | SegmentGoneError():
                self._note("unreachable", str(error), logging.WARNING, str(error))
            case LeaseLostError() | LedgerBehindError() | StoreError() | ConfigError():
                self._note("waiting", str(error), logging.WARNING, str(error))
            case _:
                raise error
        self._failures += 1
        await self._pause(backoff_s(self._failures, self._rng, first_s=FIRST_S, max_s=MAX_S))

    async def _write(self, listing: Listing) -> None:
        with LeasedWriter(self._settings, self._url, listing.collector) as writer:
            await writer.run(writer.take)
            self.writer, self._told, self._failures = writer, {}, 0
            self.takeovers += 1
            self._note("writing", "", logging.INFO, "its journal is written here from now on")
            writing: dict[str, asyncio.Task[None]] = {}
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell_along(writer.database))
                watching = group.create_task(_until_lost(writer))
                while not self._stopping.is_set():
                    for name in listing.streams.keys() - writing.keys():
                        stream = WrittenStream(name, self._settings, writer, self.source)
                        self.streams[name] = stream
                        writing[name] = group.create_task(stream.run(), name=f"{listing.collector}/{name}")
                    await self._pause(LIST_S)
                    listing = await self._listed_again(listing)
                if writing:
                    await asyncio.wait(writing.values())
                telling.cancel()
                watching.cancel()
            await self._tell(writer.database)

    async def _listed_again(self, before: Listing) -> Listing:
        """Return the list again, for new streams; the old one if the collector is away or another now."""
        if self._stopping.is_set():
            return before
        try:
            found = await self.source.streams()
        except UnreachableError:
            return before
        return found if found.collector == before.collector else before

    async def _tell_along(self, database: str) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            await self._tell(database)

    async def _tell(self, database: str) -> None:
        """Tell the collector what is committed, so that it may delete it; a failure only delays that."""
        if not self.source.tells:
            return
        for name, stream in list(self.streams.items()):  # one may be added while the collector is told
            position = stream.committed
            if position is None or position == self._told.get(name):
                continue
            try:
                await self.source.committed(name, position, database)
                self._told[name], self._untold = position, ""
            except (UnreachableError, SegmentGoneError) as exc:
                log.debug("collector was not told what is committed stream=%s error=%s", name, exc)
            except JournalError as exc:
                self._told[name] = position  # it says no; it is asked again with the next position
                if str(exc) != self._untold:
                    log.error("segments are not deleted collector=%s error=%s", self.collector, exc)
                self._untold = str(exc)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _note(self, state: str, error: str, level: int, text: str) -> None:
        if (state, error) != (self.state, self.error) or state == "writing":
            log.log(level, "collector is %s collector=%s source=%s: %s", state, self.collector, self.source.name, text)
        self.state, self.error = state, error

    def written(self) -> tuple[int, int]:
        """Return the number of ticks and frames that this process has committed."""
        counts = [
            self._before,
            *((one.consumer.counts.ticks, one.consumer.counts.frames) for one in self.streams.values()),
        ]
        return sum(ticks for ticks, _ in counts), sum(frames for _, frames in counts)

    def account(self) -> dict[str, Any]:
        """Return its state, for the status."""
        return {
            "collector": self.collector or None,
            "source": self.source.name,
            "state": self.state,
            "error": self.error or self._untold or None,
            "takeovers": self.takeovers,
            "streams": {name: stream.account() for name, stream in self.streams.items()},
        }


async def _until_lost(writer: LeasedWriter) -> None:
    """Raise LeaseLostError when the heartbeat finds the lease lost, though nothing is written."""
    while True:
        await asyncio.sleep(WATCH_S)
        if writer.is_lost:
            raise LeaseLostError(f"lease of collector {writer.writer.collector!r} is lost: {writer.error.text}")
