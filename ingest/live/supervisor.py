"""Supervisor: start the tasks of a recording, and stop them in order.

    stream "1"   feed ─► write queue ─► journal ─► consumer ─┐
    stream "2"   feed ─► write queue ─► journal ─► consumer ─┴──batches──► the one writer, on its thread

With a standby each stream has two feeds before its write queue. Tasks start only here, in one TaskGroup. A stop closes
the feeds first, then the journals, and lets the consumers commit the remaining records.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ingest.database.pool import Pool
from ingest.database.questions import AWAY, Questions
from ingest.errors import StoreError, first_error
from ingest.feed.connection import FeedConnection
from ingest.feed.market_now import MarketNow
from ingest.journal.folder import JournalLock, is_stream
from ingest.journal.reader import JournalReader
from ingest.live.background import (
    backfill_along,
    follow_along,
    follow_file_along,
    market_time,
    newest_tick,
    refresh_along,
    watch_jobs_along,
)
from ingest.live.broadcast.hub import Hub
from ingest.live.distributed.leased_work import ONCE, REPAIR, LeasedWork
from ingest.live.distributed.serving import journal_publisher, journal_server, may_be_given_keys
from ingest.live.distributed.unstored_writer import NO_DATABASE, UnstoredWriter
from ingest.live.evening import Evening
from ingest.live.http import port
from ingest.live.ingestion import Ingestion
from ingest.live.observe.alert_sender import AlertSender
from ingest.live.observe.observer import Observer
from ingest.live.observe.service_manager import ServiceManager, tell
from ingest.live.stream import Stream
from ingest.live.tick_handlers import load_handler
from ingest.live.watchdog import Watchdog
from ingest.pipeline.consumer import Consumer
from ingest.pipeline.progress import show_along
from ingest.repair.backfill import Backfill
from ingest.repair.backfill_store import Store
from ingest.settings import Settings
from ingest.store.bar_refresh import refresh_touched
from ingest.store.retrying_writer import Abandoned, RetryingWriter, retrying_writer
from ingest.store.side_limits import side_limits
from ingest.store.writer import Writer
from ingest.time_source import TimeSource
from ingest.transport.cursor import Cursor
from ingest.universe.calendar_file import load_calendar
from ingest.universe.connection_plan import AccountLimits as VendorAccount
from ingest.universe.connection_plan import plan
from ingest.universe.keeper import UniverseKeeper
from ingest.upstox.rest import UpstoxApi

if TYPE_CHECKING:
    from ingest.live.distributed.assigned import AssignedKeys

log = logging.getLogger(__name__)

# Threads for files; what waits for the database has threads of its own.
THREADS_PER_STREAM = 2  # a write queue, and the housekeeping of its journal
THREADS = 4  # calendar, usual rates, embedded server
Work = Callable[[], Awaitable[None]]
MEET_S = 10.0  # a database that takes longer to connect counts as away, because the market does not wait


@dataclass(frozen=True, slots=True)
class Run:
    """The running parts since `start`; `consumer`, `feed` and `reader` are those of the first stream."""

    consumer: Consumer
    feed: FeedConnection
    writer: RetryingWriter
    reader: JournalReader
    ingestion: Ingestion

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All streams."""
        return self.ingestion.streams


async def start(
    settings: Settings,
    url: str | None,
    keys: Sequence[str] | Mapping[str, str],
    *,
    stop: asyncio.Event,
    keeper: UniverseKeeper | None = None,
    show: Callable[[Run], None] = lambda _: None,
    ready: Callable[[Run], None] = lambda _: None,
    time_source: TimeSource | None = None,
    make_ready: Callable[[], None] = lambda: None,
    meet_s: float = MEET_S,
) -> Run:
    """Ingest the live feed until told to stop; commit all frames received by then.

    While the database is away, for however long, frames go into the journal. Without any, this is a collector: what is
    received is judged for liveness, and committed by writers elsewhere, which read the journal.

    Parameters
    ----------
    settings, url
        Settings, and URL of the database; None: there is none.
    keys
        Instrument keys to subscribe in the settings' mode, or keys -> modes. None without a database: writers give
        them.
    stop
        Set it to stop; see `stop_signals`.
    keeper
        Provides the wanted keys from then on; None: the keys stay as they are, or follow the file of the settings.
    show
        Called about once a second with the running parts.
    ready
        Called once with the running parts, before the first connection.
    time_source
        Clock and waits; None: the machine's clocks.
    make_ready
        Called before each connection of the writer; see `Writer`.
    meet_s
        How long to wait for the database before the first connection, seconds.

    Raises
    ------
    ConfigError
        If there is no token. If the vendor refuses the token, recording waits for a new one instead.
    SubscriptionError
        If the keys do not fit into the connection.
    CollectorInUseError
        If another process writes under this collector's name.
    JournalError
        If the journal is in use or cannot be written.
    """
    settings.token()  # fail at once if there is none
    wanted = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, settings.mode)
    account = VendorAccount.of(plus=settings.plus, connections_max=settings.connections_max, standby=settings.standby)
    plan(wanted, account)  # fail at once if there are too many keys: the vendor would ignore them silently
    lock = JournalLock(settings.journal_folder)
    try:
        with _writer(settings, url, make_ready) as writer:
            await writer.run(writer.meet, meet_s)
            async with _pool(settings, url) as pool, UpstoxApi(settings, time_source) as api:
                names = _streams(settings, account)
                asyncio.get_running_loop().set_default_executor(
                    ThreadPoolExecutor(THREADS + THREADS_PER_STREAM * len(names))
                )
                stored = load_calendar(settings.home, settings.api_url)
                market = MarketNow(
                    lambda: keeper.calendar if keeper else stored,
                    api.time_source,
                    closed_retry_s=settings.closed_retry_s,
                )
                cursor = Cursor(settings.journal_folder) if url is None else None
                streams = [await Stream.open(name, settings, writer, api, market, cursor=cursor) for name in names]
                handlers, errors = map(load_handler, settings.handlers), keeper.errors if keeper else None
                watchdog = Watchdog(streams, settings, market)
                questions = Questions(pool, lambda: writer.is_askable, AWAY if url else NO_DATABASE)
                ingestion = Ingestion(
                    streams,
                    account,
                    watchdog,
                    writer,
                    handlers,
                    questions=questions,
                    universe_key=keeper.key_of if keeper else lambda _: None,
                    errors=errors,
                )
                assignee = _assignee(settings, cursor, account, wanted)
                ingestion.journal_server = journal_server(settings, streams, cursor, assignee)
                ingestion.publisher = journal_publisher(settings, streams, cursor, assignee)
                ingestion.follow(wanted)
                first = streams[0]
                running = Run(first.consumer, first.feed, writer, first.reader, ingestion)
                ready(running)
                if url is not None:
                    ingestion.leased = _leased_works(running, settings, pool, url)
                await _run(
                    running,
                    settings=settings,
                    pool=pool,
                    stop=stop,
                    keeper=keeper,
                    show=show,
                    has_database=url is not None,
                    assigned=assignee if not wanted else None,
                )
                return running
    finally:
        lock.release()


def _writer(settings: Settings, url: str | None, make_ready: Callable[[], None]) -> RetryingWriter:
    if url is None:
        return UnstoredWriter(settings)
    return retrying_writer(Writer(url, settings.collector, make_ready, side_limits=side_limits(settings)), settings)


def _pool(settings: Settings, url: str | None) -> Pool:
    if url is None:
        return Pool("")  # it is never asked
    return Pool(url, size_min=settings.pool_min, size_max=settings.pool_max, wait_s=settings.pool_wait_s)


def _streams(settings: Settings, account: VendorAccount) -> list[str]:
    """Return the names of the streams to open: one per connection, and those that earlier runs used."""
    folder = settings.journal_folder
    used = {int(path.name) for path in folder.iterdir() if is_stream(path.name) and path.is_dir()}
    return [str(number) for number in sorted(used | set(range(1, account.connections_max + 1)))]


async def _run(
    running: Run,
    *,
    settings: Settings,
    pool: Pool,
    stop: asyncio.Event,
    keeper: UniverseKeeper | None,
    show: Callable[[Run], None],
    has_database: bool,
    assigned: AssignedKeys | None,
) -> None:
    ingestion, writer = running.ingestion, running.writer
    streams, hub = ingestion.streams, Hub(ingestion)
    try:
        async with asyncio.TaskGroup() as group:
            consuming = [group.create_task(stream.consume(), name=f"consumer {stream.name}") for stream in streams]
            writing = [
                group.create_task(stream.feed.write_queue.run(), name=f"write queue {stream.name}")
                for stream in streams
            ]
            feeds = [feed for stream in streams for feed in stream.feeds]
            receiving = [group.create_task(feed.run(), name=f"feed {feed.name}") for feed in feeds]
            works = _works(running, settings, hub, show) | _universe_works(settings, keeper, ingestion, assigned)
            if has_database:
                works |= _database_works(running, settings, pool)
            for part in (ingestion.journal_server, ingestion.publisher):
                if part is not None:
                    part.start()
            along = [group.create_task(ingestion.fence.keep(name, work), name=name) for name, work in works.items()]
            await stop.wait()
            tell("STOPPING=1")
            deadline = asyncio.get_running_loop().time() + settings.stop_s
            log.info("stopping: the feed is closed, remaining records are being committed")
            await _cancel(receiving)
            for stream in streams:
                stream.feed.write_queue.close()
            await asyncio.wait(writing)
            for stream in streams:
                stream.finish()
            await _finish(consuming, writer, deadline)
            for task in along:
                task.cancel()
        if has_database and not writer.failures:
            await _refresh_bars(pool, writer, settings.stop_s, deadline)
    except BaseExceptionGroup as group_error:
        if not isinstance(error := first_error(group_error), Abandoned):
            raise error from group_error
        _say_what_is_left(sum(stream.left_bytes() for stream in streams), writer, settings.stop_s)
    finally:
        hub.close()
        ingestion.close()
        for stream in streams:
            stream.close()


async def _refresh_bars(pool: Pool, writer: RetryingWriter, stop_s: float, deadline: float) -> None:
    """Refresh the bars of the last ticks, but not longer than a stop may take."""
    try:
        async with asyncio.timeout_at(deadline):
            await refresh_touched(pool)
    except TimeoutError:
        writer.give_up()
        log.warning(
            "bars not refreshed in time stop_s=%g: the next start does it, or `tickline db refresh`",
            stop_s,
        )
    except StoreError as exc:  # the ticks are committed, and their minutes recorded as touched
        log.warning("bars not refreshed: the next start does it, or `tickline db refresh` error=%s", exc)


def _works(running: Run, settings: Settings, hub: Hub, show: Callable[[Run], None]) -> dict[str, Work]:
    """Return the background tasks of every recording, by name."""
    ingestion = running.ingestion
    works: dict[str, Work] = {
        (name := f"journal {stream.name}"): partial(stream.keep, ingestion.errors.of(name))
        for stream in ingestion.streams
    }
    works |= {
        "progress": lambda: show_along(running, show),
        "watch": ingestion.watchdog.run,
        "observe": Observer(ingestion).run,
        "alerts": AlertSender(ingestion, settings).run,
        "service": ServiceManager(ingestion).run,
    }
    if settings.api_port:
        works["status"] = lambda: port.serve(settings, partial(port.recording_api, ingestion, hub))
        works["broadcast"] = hub.run
    return works


def _assignee(
    settings: Settings, cursor: Cursor | None, account: VendorAccount, wanted: Mapping[str, str]
) -> Any:  # AssignedKeys or OwnKeys, whose module loads a server
    """Return who answers writers that give keys: of a collector without keys of its own, who takes them."""
    if cursor is None or not may_be_given_keys(settings):
        return None
    assigning = importlib.import_module("ingest.live.distributed.assigned")
    if wanted:
        return assigning.OwnKeys(settings.collector, account)
    return assigning.AssignedKeys(settings, cursor, account)


def _universe_works(
    settings: Settings, keeper: UniverseKeeper | None, ingestion: Ingestion, assigned: AssignedKeys | None
) -> dict[str, Work]:
    """Return the task that follows the wanted keys, if they can change."""
    if assigned is not None:
        return {"universe": lambda: assigned.run(ingestion)}
    if keeper is not None:
        return {"universe": lambda: follow_along(settings, keeper, ingestion)}
    if settings.universe_file is not None:
        return {"universe": lambda: follow_file_along(settings, ingestion, ingestion.errors.of("universe"))}
    return {}


def _database_works(running: Run, settings: Settings, pool: Pool) -> dict[str, Work]:
    """Return the background tasks that need the database, by name."""
    ingestion = running.ingestion
    works: dict[str, Work] = {
        "evening": Evening(ingestion, settings).run,  # exports go to the home of each
        "jobs": lambda: watch_jobs_along(pool, running.writer, ingestion.errors),
    }
    return works | {work.name: work.run for work in ingestion.leased}


def _leased_works(running: Run, settings: Settings, pool: Pool, url: str) -> list[LeasedWork]:
    """Return what one process on this database does at a time, such as this one."""
    ingestion, writer = running.ingestion, running.writer
    errors = ingestion.errors

    async def repair() -> None:
        await backfill_along(
            Backfill(running.feed.api, Store(pool)),
            partial(market_time, ingestion.streams, pool),
            writer,
            errors.of("backfill"),
            every_s=settings.backfill_s,
        )

    def may_repair() -> bool:
        return newest_tick(ingestion.streams) is not None and not running.feed.api.tokens.is_refused

    def is_away() -> bool:
        return writer.is_away

    bars: dict[str, Work] = {"bars": lambda: refresh_along(pool, writer, errors.of("bars"))}
    works = [LeasedWork(ONCE, url, bars, ingestion.fence, errors, is_database_away=is_away)]
    if settings.backfill_s:
        given: dict[str, Any] = {"is_database_away": is_away, "may_work": may_repair}
        works.append(LeasedWork(REPAIR, url, {"backfill": repair}, ingestion.fence, errors, **given))
    return works


def _say_what_is_left(left_bytes: int, writer: RetryingWriter, stop_s: float) -> None:
    if not left_bytes:
        log.warning("stopped before bars were made: the next start or `tickline db refresh` does it stop_s=%g", stop_s)
        return
    log.warning(
        "stopped before everything was committed: the next start commits the rest stop_s=%g left_bytes=%d error=%s",
        stop_s,
        left_bytes,
        writer.error.text if writer.failures else "",
    )


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _finish(consuming: Iterable[asyncio.Task[None]], writer: RetryingWriter, deadline: float) -> None:
    """Let the consumers commit the remaining records, but not longer than a stop may take."""
    _, late = await asyncio.wait(consuming, timeout=deadline - asyncio.get_running_loop().time())
    if late:
        writer.abandon()
        await asyncio.wait(late)
