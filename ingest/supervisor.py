"""Supervisor: the tasks of `start`, who owns what, and how they stop.

    line "1"   feed ─► spool ─► journal ─► consumer ─┐
    line "2"   feed ─► spool ─► journal ─► consumer ─┴──batches──► the one writer, on a thread

With a standby each line has two feeds before its spool.

Tasks start here and nowhere else, in one TaskGroup. A stop closes the feeds first, then the
journals, and lets the consumers commit what is left.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from ingest.along import backfill_along, follow_along, refresh_along
from ingest.calendar_cache import load_calendar
from ingest.config import Settings
from ingest.consumer import Consumer
from ingest.feed import Feed
from ingest.freshness import refresh_touched
from ingest.handlers import load_handler
from ingest.journal import JournalLock, is_stream
from ingest.journal_reader import JournalReader
from ingest.line import Line
from ingest.patient_writer import Abandoned, PatientWriter
from ingest.planner import Account as VendorAccount
from ingest.planner import plan
from ingest.service import Service
from ingest.timepiece import Timepiece
from ingest.universe_keeper import UniverseKeeper
from ingest.upstox import UpstoxApi
from ingest.watch import Watch
from ingest.writer import Writer
from sql.errors import StoreError, TicklineError

log = logging.getLogger(__name__)

THREADS_PER_LINE = 4  # a spool, a consumer, a keeper; none may wait for a thread that waits for the database
THREADS = 8  # beside them
MEET_S = 10.0  # a database that takes longer to connect to is away: the market does not wait


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running ingestion shows. A replay has a consumer only; of several lines this has the first."""

    consumer: Consumer
    feed: Feed | None = None
    writer: PatientWriter | None = None
    reader: JournalReader | None = None
    service: Service | None = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """All connections."""
        return self.service.lines if self.service else ()


def patient_writer(writer: Writer, settings: Settings) -> PatientWriter:
    """Return the writer with the patience that the settings have."""
    return PatientWriter(writer, first_s=settings.database_backoff_first_s, max_s=settings.database_backoff_max_s)


async def start(
    settings: Settings,
    url: str,
    keys: Sequence[str] | Mapping[str, str],
    *,
    stop: asyncio.Event,
    keeper: UniverseKeeper | None = None,
    show: Callable[[Progress], None] = lambda _: None,
    ready: Callable[[Progress], None] = lambda _: None,
    timepiece: Timepiece | None = None,
    make_ready: Callable[[], None] = lambda: None,
    meet_s: float = MEET_S,
) -> Progress:
    """Ingest the live feed until told to stop; what has been received by then is committed.

    A database that is away is waited for, however long: meanwhile frames go into the journal.

    Parameters
    ----------
    settings, url
        How to behave, and the database.
    keys
        Instrument keys to subscribe in the settings' mode, or keys -> modes.
    stop
        Set it to stop; see `stop_signals`.
    keeper
        Who knows what is wanted from then on; None: the keys stay as they are.
    show
        Called with the progress about once a second.
    ready
        Called once, before the first connection, with the progress to watch.
    timepiece
        What time it is; None: the machine's clocks tell it.
    make_ready
        Called before each connection of the writer; see `Writer`.
    meet_s
        How long the database is waited for before the first connection, seconds.

    Raises
    ------
    ConfigError
        If there is no token. One that the vendor refuses is waited out: a new one may come.
    SubscriptionError
        If the keys do not fit into the connection.
    CollectorInUseError
        If another process writes under this collector's name.
    JournalError
        If the journal is in use or cannot be written.
    """
    settings.token()  # say so at once if there is none
    wanted = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, settings.mode)
    account = VendorAccount.of(plus=settings.plus, connections_max=settings.connections_max, standby=settings.standby)
    plan(wanted, account)  # the vendor would ignore what is too many
    if settings.api_port:
        await asyncio.to_thread(_api)  # before the first frame, which would wait for it
    lock = JournalLock(settings.journal_folder)
    try:
        with patient_writer(Writer(url, settings.collector, make_ready), settings) as patient:
            await asyncio.to_thread(patient.meet, meet_s)
            async with UpstoxApi(settings, timepiece) as api:
                streams = _streams(settings, account)
                asyncio.get_running_loop().set_default_executor(_Threads(THREADS + THREADS_PER_LINE * len(streams)))
                lines = [await Line.open(stream, settings, patient, api) for stream in streams]
                stored = load_calendar(settings.home, settings.api_url)
                handlers, errors = map(load_handler, settings.handlers), keeper.errors if keeper else None
                watch = Watch(lines, settings, lambda: keeper.calendar if keeper else stored, api.timepiece)
                service = Service(lines, account, watch, patient, handlers, errors=errors)
                service.follow(wanted)
                first = lines[0]
                progress = Progress(first.consumer, first.feed, patient, first.reader, service)
                ready(progress)
                server = _api().prepare(service, url) if settings.api_port else None
                await _run(progress, settings=settings, url=url, stop=stop, keeper=keeper, show=show, server=server)
                return progress
    finally:
        lock.release()


class _Threads(ThreadPoolExecutor):
    """Threads that the loop's end does not wait for: one may wait for a database that says nothing."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the idle ones go; `wait` is not listened to."""
        super().shutdown(wait=False, cancel_futures=True)


def _streams(settings: Settings, account: VendorAccount) -> list[str]:
    """Return the streams to open: one for each connection, and those that earlier runs have used."""
    folder = settings.journal_folder
    used = {int(path.name) for path in folder.iterdir() if is_stream(path.name) and path.is_dir()}
    return [str(number) for number in sorted(used | set(range(1, account.connections_max + 1)))]


async def _run(
    progress: Progress,
    *,
    settings: Settings,
    url: str,
    stop: asyncio.Event,
    keeper: UniverseKeeper | None,
    show: Callable[[Progress], None],
    server: Any,
) -> None:
    service, patient = progress.service, progress.writer
    assert service is not None and patient is not None
    lines = service.lines
    try:
        async with asyncio.TaskGroup() as group:
            consuming = [group.create_task(line.consume(), name=f"consumer {line.stream}") for line in lines]
            spooling = [group.create_task(line.feed.spool.run(), name=f"spool {line.stream}") for line in lines]
            feeds = [feed for line in lines for feed in line.feeds]
            receiving = [group.create_task(feed.run(), name=f"feed {feed.name}") for feed in feeds]
            works: dict[str, Callable[[], Awaitable[None]]] = {
                (name := f"journal {line.stream}"): partial(line.keep, service.errors.of(name)) for line in lines
            }
            works |= {
                "progress": lambda: show_along(progress, show),
                "watch": service.watch.run,
                "bars": lambda: refresh_along(url, patient, service.errors.of("bars")),
                "backfill": lambda: backfill_along(settings, url, lines, patient, service.errors.of("backfill")),
            }
            if server is not None:
                works["status"] = lambda: _api().serve(server, settings.api_host, settings.api_port)
            if keeper is not None:
                works["universe"] = lambda: follow_along(settings, keeper, service)
            along = [group.create_task(service.fence.keep(name, work), name=name) for name, work in works.items()]
            await stop.wait()
            deadline = asyncio.get_running_loop().time() + settings.stop_s
            log.info("stopping: the feed is closed, what is left is committed")
            await _cancel(receiving)
            for line in lines:
                line.feed.spool.close()
            await asyncio.wait(spooling)
            for line in lines:
                line.finish()
            await _finish(consuming, patient, deadline)
            for task in along:
                task.cancel()
        if not patient.failures:
            try:
                async with asyncio.timeout_at(deadline):
                    await asyncio.to_thread(refresh_touched, url)
            except TimeoutError:
                patient.given_up = True
                log.warning(
                    "bars not refreshed in time stop_s=%g: the next start does it, or `tickline db refresh`",
                    settings.stop_s,
                )
            except StoreError as exc:  # the ticks are committed, and their minutes noted
                log.warning("bars not refreshed: the next start does it, or `tickline db refresh` error=%s", exc)
    except BaseExceptionGroup as group_error:
        if not isinstance(error := first_error(group_error), Abandoned):
            raise error from group_error
        _say_what_is_left(sum(line.left_bytes() for line in lines), patient, settings.stop_s)
    finally:
        service.close()
        for line in lines:
            line.close()


def _say_what_is_left(left_bytes: int, patient: PatientWriter, stop_s: float) -> None:
    if not left_bytes:
        log.warning("stopped before bars were made: the next start does it, or `tickline db refresh` stop_s=%g", stop_s)
        return
    log.warning(
        "stopped before the database took everything: the next start commits the rest stop_s=%g left_bytes=%d error=%s",
        stop_s,
        left_bytes,
        patient.error.text if patient.failures else "",
    )


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _finish(consuming: Iterable[asyncio.Task[None]], patient: PatientWriter, deadline: float) -> None:
    """Let the consumers commit what is left, but not for longer than a stop may take."""
    _, late = await asyncio.wait(consuming, timeout=deadline - asyncio.get_running_loop().time())
    if late:
        patient.abandon()
        await asyncio.wait(late)


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a user should read: one of ours if there is one."""
    ours = group.subgroup(TicklineError)
    error: BaseException = ours or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def stop_signals(*, for_s: float | None = None) -> Iterator[asyncio.Event]:
    """Turn the first SIGINT, SIGTERM or SIGHUP, or the end of `for_s` seconds, into an event.

    A second signal, of any kind, ends the process at once; the journal has all that was received.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    timer = loop.call_later(for_s, stop.set) if for_s is not None else None
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        del before[signal.SIGHUP]

    def on_signal() -> None:
        stop.set()
        for number in before:
            loop.remove_signal_handler(number)
            # Not Python's KeyboardInterrupt: that would wait for the thread that waits for the database.
            signal.signal(number, signal.SIG_DFL)

    for number in before:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        if timer is not None:
            timer.cancel()
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _api() -> ModuleType:
    """Return what serves the status; nobody else pays 9 MB and half a second for its imports."""
    return importlib.import_module("ingest.api")


async def show_along(progress: Progress, show: Callable[[Progress], None]) -> None:
    """Show the progress once a second, until cancelled."""
    while True:
        await asyncio.sleep(1.0)
        show(progress)
