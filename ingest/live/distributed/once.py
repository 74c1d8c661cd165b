"""Once: what writers do once per database: bars, repair, lists, evening jobs, and which collector has which keys.

`LeasedWork` says who does it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from ingest.database.pool import Pool
from ingest.errors import StoreError
from ingest.last_error import LastErrors
from ingest.live.background import backfill_along, refresh_along, watch_jobs_along
from ingest.live.distributed.assigning import Assigning
from ingest.live.distributed.leased_work import ONCE, REPAIR, LeasedWork
from ingest.live.evening import Evening
from ingest.live.fence import Fence
from ingest.market.segment_states import SegmentStates
from ingest.repair.backfill import Backfill
from ingest.repair.backfill_store import Store
from ingest.settings import Settings
from ingest.time_source import TimeSource
from ingest.transport.assignment import KeyTaker
from ingest.universe.keeper import UniverseKeeper
from ingest.universe.selection import Universe
from ingest.upstox.rest import UpstoxApi
from ingest.upstox.tokens import Tokens

log = logging.getLogger(__name__)

SOON_S = 2.0
LISTS_S = 60.0  # between two looks whether today's lists are there


class Once:
    """The work of one process, while it holds the leases.

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
        sources: Sequence[KeyTaker] = (),
    ) -> None:
        self.errors = LastErrors()
        self.evening: Mapping[str, str | None] | None = None
        self.time_source = TimeSource()
        self.fence = Fence(self.time_source, self.errors)
        self._settings, self._pool, self._keys = settings, pool, keys
        self._at: datetime | None = None  # newest tick of the database, and when it was seen first
        self._seen_s = 0.0
        self._keeper = UniverseKeeper(settings, url, may_be_empty=True, stores_names=False)
        self._refreshing = asyncio.Lock()  # two tasks look at the lists, which are fetched once
        has_universe = bool(settings.universe or settings.underlyings or settings.universe_file)
        self.assigning = Assigning(settings, pool, sources, self._universe) if sources and has_universe else None
        self._work = LeasedWork(ONCE, url, self._parts(), self.fence, self.errors)
        self._repair: LeasedWork | None = None
        self._tokens: Tokens | None = None  # of the last repair
        if settings.upstox_access_token is not None and settings.backfill_s:
            parts = {"backfill": self._backfill_along}
            self._repair = LeasedWork(REPAIR, url, parts, self.fence, self.errors, may_work=self._may_repair)

    @property
    def is_held(self) -> bool:
        """Whether this process does now what is done once; repair is apart."""
        return self._work.is_held

    @property
    def repairs(self) -> bool:
        """Whether this process repairs bars now."""
        return self._repair is not None and self._repair.is_held

    @property
    def is_away(self) -> bool:
        """Return False: while the database is away, the leases are lost."""
        return False

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
        """Do the work whenever this process holds the leases, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self._work, self._repair):
                if work is not None:
                    group.create_task(work.run(), name=work.name)

    def _parts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return what is done under the lease, by name."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "bars": lambda: refresh_along(self._pool, self, self.errors.of("bars")),
            "jobs": lambda: watch_jobs_along(self._pool, self, self.errors),
            "lists": self._lists_along,
            "evening": Evening(self, self._settings).run,
        }
        if self.assigning is not None:
            parts["assigning"] = partial(self.assigning.run, self.errors.of("assigning"))
        return parts

    async def _backfill_along(self) -> None:
        async with UpstoxApi(self._settings) as api:
            self._tokens = api.tokens
            await backfill_along(
                Backfill(api, Store(self._pool)),
                self._newest_tick,
                self,
                self.errors.of("backfill"),
                every_s=self._settings.backfill_s,
            )

    def _may_repair(self) -> bool:
        return self._tokens is None or not self._tokens.is_refused

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
