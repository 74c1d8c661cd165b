"""Once: what is done once per database, by the process that holds its lease: bars, repair, lists, evening jobs,
and which collector has which keys.

Nothing here carries ticks. A holder that dies or freezes is followed by another within seconds, and each of these tasks
may be done twice, so a holder that wakes up harms nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from ingest.database.pool import Pool
from ingest.errors import StoreError
from ingest.last_error import LastErrors
from ingest.live.background import backfill_along, refresh_along, watch_jobs_along
from ingest.live.distributed.assigning import Assigning
from ingest.live.evening import Evening
from ingest.live.fence import Fence
from ingest.market.segment_states import SegmentStates
from ingest.repair.backfill import Backfill
from ingest.repair.backfill_store import Store
from ingest.settings import Settings
from ingest.store.lease import DatabaseLease
from ingest.time_source import TimeSource
from ingest.transport.http_collector import HttpCollector
from ingest.universe.keeper import UniverseKeeper
from ingest.universe.selection import Universe
from ingest.upstox.rest import UpstoxApi
from ingest.worker_thread import in_background

log = logging.getLogger(__name__)

LEASE = "once per database"
TRY_S = 2.0  # how long one try waits for a lease that another holds
LOOK_S = 0.5
AWAY_S = 2.0
SOON_S = 2.0
LISTS_S = 60.0  # between two looks whether today's lists are there


class LeaseGoneError(StoreError):
    """Another process may do this work now."""


class Once:
    """The work of one process, while it holds the lease.

    Parameters
    ----------
    settings, url
        Settings, and URL of the database.
    pool
        Connections of the work.
    keys
        Returns keys that were heard here, for their market's hours.
    sources
        Collectors that may be given keys.

    Attributes
    ----------
    is_held
        Whether this process does it now.
    errors, evening
        What the status shows.
    assigning
        Spreads the universe of the settings over the collectors; None: there is none, or no collector.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        pool: Pool,
        keys: Callable[[], set[str]],
        sources: Sequence[HttpCollector] = (),
    ) -> None:
        self.is_held = False
        self.errors = LastErrors()
        self.evening: Mapping[str, str | None] | None = None
        self.time_source = TimeSource()
        self.fence = Fence(self.time_source, self.errors)
        self._settings, self._url, self._pool, self._keys = settings, url, pool, keys
        self._at: datetime | None = None  # newest tick of the database, and when it was seen first
        self._seen_s = 0.0
        self._keeper = UniverseKeeper(settings, url, may_be_empty=True, stores_names=False)
        self._refreshing = asyncio.Lock()  # two tasks look at the lists, which are fetched once
        has_universe = bool(settings.universe or settings.underlyings or settings.universe_file)
        self.assigning = Assigning(settings, pool, sources, self._universe) if sources and has_universe else None

    @property
    def is_away(self) -> bool:
        """Whether the database is known to be away: the lease would be lost."""
        return not self.is_held

    @property
    def watchdog(self) -> Once:
        """For the evening job: the time and the market."""
        return self

    @property
    def keys(self) -> dict[str, str]:
        """Keys that were heard here."""
        return dict.fromkeys(self._keys(), "")

    @property
    def segments(self) -> SegmentStates:
        """States of the market's segments, by the calendar."""
        return SegmentStates(self._keeper.calendar)

    def market_time(self) -> datetime | None:
        """Return the time of the market: the newest tick's, and what has passed since; None: there is no tick."""
        if self._at is None:
            return None
        return self._at + timedelta(seconds=self.time_source.monotonic() - self._seen_s)

    async def run(self) -> None:
        """Do the work whenever this process holds the lease, until cancelled."""
        while True:
            lease = DatabaseLease(self._url, LEASE)
            try:
                if await _taken(lease):
                    log.info("bars, repair, lists and evening jobs of the database are done here from now on")
                    self.is_held = True
                    await self._work(lease)
            except* LeaseGoneError:
                log.warning("lease is lost, another process may do what is done once lease=%r", LEASE)
            finally:
                self.is_held = False
                in_background("lease", lease.close)  # a server that hangs must not stop the loop

    async def _work(self, lease: DatabaseLease) -> None:
        async with UpstoxApi(self._settings) as api, asyncio.TaskGroup() as group:
            works: dict[str, Callable[[], Any]] = {
                "bars": lambda: refresh_along(self._pool, self, self.errors.of("bars")),
                "jobs": lambda: watch_jobs_along(self._pool, self, self.errors),
                "lists": self._lists_along,
                "evening": Evening(self, self._settings).run,
            }
            if self.assigning is not None:
                works["assigning"] = partial(self.assigning.run, self.errors.of("assigning"))
            if self._settings.upstox_access_token is not None:
                works["backfill"] = partial(
                    backfill_along,
                    Backfill(api, Store(self._pool)),
                    self._newest_tick,
                    self,
                    self.errors.of("backfill"),
                    every_s=self._settings.backfill_s,
                )
            for name, work in works.items():
                group.create_task(self.fence.keep(name, work), name=name)
            while not lease.is_lost:  # a thread of its own finds that out
                await self.time_source.sleep(LOOK_S)
            raise LeaseGoneError("lease is lost")

    async def _lists_along(self) -> None:
        """Load today's instrument master and calendar; the writers ask again what keys mean when they see it."""
        while True:
            try:
                await self._newest_tick()
                async with self._refreshing:
                    await self._keeper.refresh(datetime.now(UTC), self._pool)
            except StoreError as exc:  # perhaps a key of the list has just become an instrument by its first tick
                log.info("lists are looked at again in_s=%g error=%s", SOON_S, exc)
                self.errors.of("lists").happened(exc)
                await asyncio.sleep(SOON_S)
            else:
                self.errors.of("lists").over()
                await asyncio.sleep(LISTS_S)

    async def _universe(self) -> Universe:
        """Return what the settings want now. Raises TicklineError."""
        async with self._refreshing:
            return await self._keeper.wanted(datetime.now(UTC), pool=self._pool)

    async def _newest_tick(self) -> datetime | None:
        rows = await self._pool.rows("lease/newest_commit", {})
        if rows and rows[0][0] is not None and rows[0][0] != self._at:
            self._at, self._seen_s = rows[0][0], self.time_source.monotonic()
        return self._at


async def _taken(lease: DatabaseLease) -> bool:
    """Try for a moment to take a lease; return whether it is held."""
    try:
        return await asyncio.wrap_future(in_background("lease", lease.take, TRY_S))
    except StoreError as exc:
        log.debug("lease not taken, trying again in_s=%g lease=%r error=%s", AWAY_S, LEASE, exc)
        await asyncio.sleep(AWAY_S)
        return False
