"""Evening job: once after each trading day, complete the bars, export ticks and drop old ones.

Owns when it runs, never during market hours, and that it runs `tickline db refresh`, `tickline export` and `tickline db
retain` as processes of their own: they take seconds of CPU and hundreds of megabytes, and the process that records must
lose neither; a kill leaves nothing half done. Must not know what these commands do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Protocol

from ingest.errors import StoreError
from ingest.feed.market_now import segments_of
from ingest.last_error import LastErrors
from ingest.market.segment_states import SegmentStates
from ingest.market.time import market_day
from ingest.settings import Settings
from ingest.time_source import TimeSource

log = logging.getLogger(__name__)

LOOK_S = 60.0
UNHEARD_S = 600.0  # after this, our clock counts if the feed has not said what time it has: a simulator plays any day
AFTER = timedelta(minutes=30)  # the close: late ticks and repairs of bars have come
BEFORE = timedelta(hours=1)  # the next pre-open no job begins
BACK_DAYS_MAX = 7  # a start after a long weekend does what the last session's evening has left
WATCH_S = 1.0  # how often to look, while it runs, whether the market opens
END_S = 1.0  # how long a command may take to end when it is told to
LINES_MAX = 200  # of a command's output that are kept
NICE = "10"  # priority: behind everything that records


def commands(settings: Settings) -> list[list[str]]:
    """Return the arguments of the commands to run, in order: what is dropped was exported before."""
    found = [["db", "refresh"]]
    if settings.export:
        found.append(["export"])
    if settings.retain_days is not None:
        found.append(["db", "retain", "--keep-days", str(settings.retain_days)])
    return found


def due_day(states: SegmentStates, segments: Collection[str], at: datetime) -> date | None:
    """Return the last trading day, if its sessions have ended and the next ones are not near; otherwise None.

    Parameters
    ----------
    states
        States of the segments, with the calendar.
    segments
        The segments that are recorded.
    at
        The time, aware.
    """
    if states.may_speak(segments, at):
        return None
    opens = states.speaks_next(segments, at)
    if opens is not None and opens - at < BEFORE:
        return None
    for back in range(BACK_DAYS_MAX + 1):
        day = market_day(at) - timedelta(days=back)
        closes = [hours.closes for segment in segments if (hours := states.calendar.hours(segment, day))]
        if closes and min(closes) > at:
            continue  # it is early in the morning
        if closes:
            return day if max(closes) + AFTER <= at else None
    return None


class Market(Protocol):
    """What time it is in the market, and when its segments trade; see `Watchdog`."""

    @property
    def time_source(self) -> TimeSource:
        """Clock and waits."""

    @property
    def segments(self) -> SegmentStates:
        """States of the segments."""

    def market_time(self) -> datetime | None:
        """Return the market's time; None: it is not known yet."""


class Host(Protocol):
    """What the job belongs to; see `Ingestion`."""

    evening: Mapping[str, str | None] | None

    @property
    def errors(self) -> LastErrors:
        """Where failures are noted."""

    @property
    def keys(self) -> Mapping[str, str]:
        """Keys that are recorded."""

    @property
    def watchdog(self) -> Market:
        """The market."""


class Evening:
    """The job of a running ingestion; its state is `ingestion.evening`.

    Parameters
    ----------
    ingestion
        Whose market it waits for, and whose status shows it.
    settings
        What is wanted.
    """

    def __init__(self, ingestion: Host, settings: Settings) -> None:
        self._ingestion, self._settings = ingestion, settings
        self._done: date | None = None
        self._since_s = ingestion.watchdog.time_source.monotonic()
        self._is_wanted = settings.export or settings.retain_days is not None
        if self._is_wanted:
            ingestion.evening = {"state": "waiting", "day": None, "began_at": None, "ended_at": None}

    async def run(self) -> None:
        """Do the job each evening, until cancelled; nothing if the settings do not want it.

        A failure is an error of the status, and costs no tick.
        """
        while self._is_wanted:
            day = self.due()
            if day is not None and day != self._done:
                before, self._done = self._done, day
                try:
                    await self.work(day)
                except asyncio.CancelledError:  # another process may do it now, or this one again
                    self._done = before
                    self._note("waiting", None)
                    raise
            await self._ingestion.watchdog.time_source.sleep(LOOK_S)

    def due(self) -> date | None:
        """Return the day whose evening it is now; None: the market may be open, or opens soon."""
        watchdog = self._ingestion.watchdog
        segments = segments_of(self._ingestion.keys)
        at = watchdog.market_time()
        if at is None and watchdog.time_source.monotonic() - self._since_s >= UNHEARD_S:
            at = watchdog.time_source.now()
        return due_day(watchdog.segments, segments, at) if segments and at is not None else None

    async def work(self, day: date, *, may_go_on: Callable[[], bool] | None = None) -> None:
        """Run the commands of an evening one after another; each runs although one before it failed.

        Parameters
        ----------
        day
            The trading day.
        may_go_on
            Returns whether the market is still closed; None: as `due` says.
        """
        go_on = may_go_on or (lambda: self.due() is not None)
        error = self._ingestion.errors.of("evening")
        failures: list[str] = []
        self._note("running", day)
        for arguments in commands(self._settings):
            try:
                said = await _run(arguments, _environment(self._settings), go_on)
                log.info("evening job day=%s command=%r said=%r", day, " ".join(arguments), said)
            except StoreError as exc:
                log.warning("evening job failed day=%s error=%s", day, exc)
                failures.append(str(exc))
        if failures:
            error.happened("; ".join(failures))
        else:
            error.over()
        self._note("failed" if failures else "done", day)

    def _note(self, state: str, day: date | None) -> None:
        now = self._ingestion.watchdog.time_source.now().isoformat()
        before = self._ingestion.evening or {}
        self._ingestion.evening = {
            "state": state,
            "day": day.isoformat() if day else None,
            "began_at": now if state == "running" else before.get("began_at") if day else None,
            "ended_at": None if state == "running" or day is None else now,
        }


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a command that uses the same home and database."""
    url = settings.database_url
    own = {"TICKLINE_HOME": str(settings.home), "TICKLINE_DATABASE_URL": url.get_secret_value() if url else ""}
    return dict(os.environ) | own


async def _run(arguments: list[str], environment: dict[str, str], may_go_on: Callable[[], bool]) -> str:
    """Run a command to its end and return its last line.

    Raises
    ------
    StoreError
        If it fails, or is ended because the market opens.
    """
    command = [sys.executable, "-m", "ingest.cli", *arguments]
    if nice := shutil.which("nice"):
        command = [nice, "-n", NICE, *command]
    name = f"`tickline {' '.join(arguments)}`"
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    reading = asyncio.create_task(_lines(process))
    try:
        while not (await asyncio.wait({reading}, timeout=WATCH_S))[0]:
            if not may_go_on():
                raise StoreError(f"{name} was ended because the market opens: the next evening does the rest")
        lines = reading.result()
    finally:
        await _end(process)
        await asyncio.wait({reading}, timeout=END_S)  # its pipe is closed then
        reading.cancel()
    if process.returncode:
        raise StoreError(f"{name} failed: {_complaint(lines)}")
    return lines[-1] if lines else ""


async def _lines(process: asyncio.subprocess.Process) -> list[str]:
    """Return the last lines that a process prints until it ends."""
    assert process.stdout is not None
    kept: list[str] = []
    async for raw in process.stdout:
        kept = [*kept[1 - LINES_MAX :], raw.decode(errors="replace").rstrip()]
    await process.wait()
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process if it still runs."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _complaint(lines: list[str]) -> str:
    """Return what went wrong: the command's error, otherwise the days that had to stay."""
    errors = [line.removeprefix("tickline: ") for line in lines if line.startswith("tickline: ")]
    stays = [" ".join(line.split()) for line in lines if "  stays  " in line]
    return "; ".join(errors or stays or lines[-1:]) or "it said nothing"
