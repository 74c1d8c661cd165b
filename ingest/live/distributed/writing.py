"""Writing: commit the journals of collectors elsewhere into one database, until told to stop.

Each collector is written by one process at a time, the holder of its lease; any number of processes may run. What is
done once per database is done by the one that holds the lease for that.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.addresses import is_loopback
from ingest.backoff import backoff_s
from ingest.database.pool import Pool
from ingest.errors import ConfigError, Retryable, StoreError, first_error
from ingest.live.access import JOURNAL_TOKEN_FILE, Tokens, stored_token
from ingest.live.distributed.assigning import Assigning
from ingest.live.distributed.once import Once
from ingest.live.distributed.serving import broker_of
from ingest.live.distributed.written_collector import Collector, WrittenCollector
from ingest.live.distributed.written_stream import WrittenStream
from ingest.live.http import port
from ingest.live.observe.service_manager import tell
from ingest.redaction import hide
from ingest.settings import COLLECTOR, Settings
from ingest.store.bar_refresh import refresh_touched
from ingest.transport.assignment import KeyTaker
from ingest.transport.folder_collector import FolderCollector
from ingest.transport.http_collector import BROKER, HttpCollector, address_of
from ingest.worker_thread import in_background

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)


THREADS_PER_SOURCE = 4
READY_FIRST_S, READY_MAX_S = 0.2, 5.0  # waits for a database that is away at the start
NAMES_S = 20.0  # between two looks whether an instrument master was loaded
SAY_S = 5.0  # between two words to the service manager


@dataclass(frozen=True, slots=True)
class Writing:
    """The running parts of `tickline write`."""

    collectors: tuple[WrittenCollector, ...]
    once: Once

    @property
    def streams(self) -> list[WrittenStream]:
        """Streams that are written here now."""
        return [stream for one in self.collectors for stream in one.streams.values()]

    @property
    def _plan(self) -> Assigning | None:
        """The plan of the universe, if it is made here."""
        return self.once.assigning if self.once.is_held else None

    def written(self) -> tuple[int, int]:
        """Return the number of ticks and frames that this process has committed."""
        ticks, frames = zip(*[one.written() for one in self.collectors], strict=True)
        return sum(ticks), sum(frames)

    def account(self) -> dict[str, Any]:
        """Return its state, for the status."""
        return {
            "collectors": [one.account() for one in self.collectors],
            "does_once": self.once.is_held,
            "repairs": self.once.repairs,
            "errors": self.once.errors.account(),
            "universe": self._plan.account() if self._plan else None,
            "evening": self.once.evening if self.once.is_held else None,
        }

    def problems(self) -> list[str]:
        """Return what keeps ticks from being committed: one line each; none of a collector that another writes."""
        found = [
            f"collector {one.collector or one.source.name} is {one.state}: {one.error}"
            for one in self.collectors
            if one.error
        ]
        for one in self.collectors:
            for name, stream in one.streams.items():
                if error := stream.refused or stream.source.error:
                    found.append(f"collector {one.collector} stream {name}: {error}")
        return found + (self._plan.problems() if self._plan else [])

    def warnings(self) -> list[str]:
        """Return what is wrong and keeps no tick from being committed."""
        failed = [f"{name} failed: {text}" for name, text in self.once.fence.failed().items()]
        return failed + (self._plan.warnings() if self._plan else [])


def sources_of(names: Sequence[str], settings: Settings) -> list[Collector]:
    """Return the collectors that the arguments of a command mean: URLs, or homes on this machine.

    Raises
    ------
    ConfigError
        If an argument is neither.
    """
    found: list[Collector] = []
    for name in names:
        if name.startswith(BROKER):
            found.append(_broker_collector(name.removeprefix(BROKER), settings))
            continue
        if "://" in name:
            found.append(http_collector(name, settings))
            if not found[-1].tells:
                log.warning(
                    "collector is not told what is committed, so it deletes nothing source=%s: set "
                    "TICKLINE_COLLECTOR_TOKEN to what its %s holds",
                    name,
                    JOURNAL_TOKEN_FILE,
                )
            continue
        journal = Path(name).expanduser() / "journal"
        folders = sorted(path for path in journal.glob("*") if path.is_dir()) if journal.is_dir() else []
        if not folders:
            raise ConfigError(
                f"source {name!r} is no home with a journal, and no address: write that as https://host:8791, or as "
                "nats:COLLECTOR=https://host:8791 for one that publishes"
            )
        found += [FolderCollector(folder) for folder in folders]
    return found


def assignable(names: Sequence[str], settings: Settings) -> list[KeyTaker]:
    """Return the collectors among the arguments of a command that may be given keys: by address, or by the broker."""
    found: list[KeyTaker] = []
    for name in names:
        if url := address_of(name):
            found.append(http_collector(url, settings))
        elif name.startswith(BROKER):
            through = importlib.import_module("ingest.transport.broker.keys")
            found.append(through.KeysThroughBroker(broker_of(settings), name.removeprefix(BROKER)))
    return found


def _broker_collector(name: str, settings: Settings) -> Collector:
    """Return the collector whose journal comes through the broker of the settings: NAME, or NAME=URL of its server."""
    collector, _, url = name.partition("=")
    if not re.fullmatch(COLLECTOR, collector):
        raise ConfigError(
            f"source {BROKER + name!r} names no collector: write nats:COLLECTOR, or nats:COLLECTOR=https://host:8791"
        )
    broker = broker_of(settings)
    reading = importlib.import_module("ingest.transport.broker.broker_collector")
    found: Collector = reading.BrokerCollector(broker, collector, http_collector(url, settings) if url else None)
    return found


def http_collector(url: str, settings: Settings) -> HttpCollector:
    """Return the collector at a URL, with the token of the settings or, on loopback, that of this home."""
    token = settings.collector_token.get_secret_value() if settings.collector_token else None
    collector = HttpCollector(url, token or None, settings.collector_ca)
    if not token and is_loopback(collector.host) and (token := stored_token(settings.home, JOURNAL_TOKEN_FILE)):
        collector = HttpCollector(url, token, settings.collector_ca)
    if token:
        hide(token)
    return collector


async def write(
    settings: Settings,
    url: str,
    sources: Sequence[Collector],
    *,
    stop: asyncio.Event,
    make_ready: Callable[[], None] = lambda: None,
    show: Callable[[Writing], None] = lambda _: None,
    ready: Callable[[Writing], None] = lambda _: None,
    assigned: Sequence[KeyTaker] = (),
) -> Writing:
    """Commit what collectors have recorded, until told to stop; then commit what was fetched by then.

    Parameters
    ----------
    settings, url
        Settings, and URL of the database.
    sources
        Where the collectors' segments are.
    stop
        Set it to stop.
    make_ready
        Prepares the database; called until it is there.
    show
        Called about once a second with the running parts.
    ready
        Called once with the running parts.
    assigned
        Those of the collectors that may be given keys of the settings' universe.

    Raises
    ------
    ConfigError, StoreError
        If the database cannot be used, and a person must act.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS_PER_SOURCE * (1 + len(sources))))
    async with Pool(url, size_min=settings.pool_min, size_max=settings.pool_max, wait_s=settings.pool_wait_s) as pool:
        collectors: list[WrittenCollector] = []

        def others() -> int:
            return sum(one.state == "writing" for one in collectors)

        collectors += [WrittenCollector(settings, url, source, others) for source in sources]
        once = Once(
            settings, url, pool, lambda: {key for one in running.streams for key in _keys_of(one)}, sources=assigned
        )
        running = Writing(tuple(collectors), once)
        ready(running)
        await _until_ready(make_ready, stop)
        try:
            async with asyncio.TaskGroup() as group:
                writing = [group.create_task(one.run(), name=f"write {one.source.name}") for one in collectors]
                along = [
                    group.create_task(once.run(), name="once"),
                    group.create_task(_names_along(running, pool), name="names"),
                    group.create_task(_say_along(running, show), name="progress"),
                ]
                if once.assigning is not None:
                    along.append(group.create_task(once.fence.keep("collectors", once.assigning.watch)))
                if settings.api_port:
                    along.append(group.create_task(port.serve(settings, partial(_api, running, settings.api_host))))
                await stop.wait()
                tell("STOPPING=1")
                log.info("stopping: what was fetched is being committed")
                for one in collectors:
                    one.stop()
                _, late = await asyncio.wait(writing, timeout=settings.stop_s)
                if late:
                    for one in collectors:
                        one.abandon()
                    log.warning("stopped before everything was committed: another writer, or the next, does the rest")
                    await asyncio.wait(late)
                does_once = once.is_held
                for task in along:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            raise first_error(group_error) from group_error
        if does_once or len(collectors) == others():
            await _refresh(pool, settings.stop_s)
        return running


def _api(running: Writing, host: str, tokens: Tokens) -> uvicorn.Server:
    api = importlib.import_module("ingest.live.distributed.writer_api")
    server: uvicorn.Server = api.prepare(running, host, tokens)
    return server


async def _until_ready(make_ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Wait until the database is there, or until a stop."""
    failures, said, rng = 0, "", random.Random()  # noqa: S311  jitter is not a secret
    while not stop.is_set():
        try:
            await asyncio.wrap_future(in_background("readiness", make_ready))
        except Retryable as exc:
            failures += 1
            if str(exc) != said:
                log.warning("database is away, waiting for it error=%s", exc)
            said = str(exc)
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff_s(failures, rng, first_s=READY_FIRST_S, max_s=READY_MAX_S)):
                    await stop.wait()
        else:
            return


def _keys_of(stream: WrittenStream) -> list[str]:
    return stream.consumer.state.normaliser.states.keys


async def _names_along(running: Writing, pool: Pool) -> None:
    """Ask again what keys mean when an instrument master was loaded, whoever loaded it."""
    seen: Any = None
    while True:
        await asyncio.sleep(NAMES_S)
        try:
            found = await pool.rows("lease/newest_list", {})
        except StoreError as exc:
            log.debug("newest list not seen error=%s", exc)
            continue
        if seen is not None and found != seen:
            for stream in running.streams:
                stream.consumer.state.naming.ask_again()
        seen = found


async def _say_along(running: Writing, show: Callable[[Writing], None]) -> None:
    """Show progress, and tell the service manager, until cancelled."""
    tell("READY=1")
    said_s = 0.0
    while True:
        await asyncio.sleep(1.0)
        show(running)
        if time.monotonic() - said_s >= SAY_S:
            said_s = time.monotonic()
            writing = sum(one.state == "writing" for one in running.collectors)
            tell(f"STATUS={writing} of {len(running.collectors)} collectors are written here", "WATCHDOG=1")


async def _refresh(pool: Pool, stop_s: float) -> None:
    """Make the bars of the last ticks; the next writer does it if this one cannot."""
    try:
        async with asyncio.timeout(stop_s):
            await refresh_touched(pool)
    except (StoreError, TimeoutError) as exc:
        why = str(exc) or f"not within {stop_s:g} s"
        log.warning("bars not refreshed: the next writer does it, or `tickline db refresh` error=%s", why)
