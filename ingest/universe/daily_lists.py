"""The vendor's lists of the day: the instrument master and the market calendar, with their age when they are old.

Decides when to ask for new ones: each morning after they are published, and again after a failure. Must not know
what is recorded.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg

from ingest.database.pool import Pool
from ingest.errors import FeedError
from ingest.last_error import LastErrors
from ingest.market.calendar import Calendar
from ingest.market.session_opens import opens_of
from ingest.market.shown_time import ist
from ingest.settings import Settings
from ingest.store.side_tables import note_opens
from ingest.universe.calendar_file import load_calendar, refresh_calendar
from ingest.universe.instrument_master import is_fresh, load_master, loaded_at, master_age, rebuilt_at
from ingest.upstox.rest import MASTER_PATH, UpstoxApi

log = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=10)  # after asking for a master or calendar


class DailyLists:
    """Today's instrument master, in the database, and market calendar.

    Parameters
    ----------
    settings
        The exchanges, the vendor's addresses, and the folder of the calendar.
    errors
        Where failures are reported.

    Attributes
    ----------
    calendar
        The newest calendar.
    """

    def __init__(self, settings: Settings, errors: LastErrors) -> None:
        self.calendar = load_calendar(settings.home, settings.api_url)
        self._settings = settings
        self._errors = errors
        self._told: Calendar | None = None  # the calendar whose opens the database knows
        self._tried_at: datetime | None = None

    async def refresh(self, pool: Pool, now: datetime, *, is_needed: bool, has_begun: bool) -> None:
        """Fetch today's master and calendar where missing; report the age of those that cannot be fetched.

        Parameters
        ----------
        pool
            Connections to the database with the masters.
        now
            What counts as today.
        is_needed
            Whether nothing can begin without a master.
        has_begun
            Whether an earlier one is in use.
        """
        if self._tried_at is not None and now - self._tried_at < RETRY_AFTER:
            return
        stale_masters, is_any = await pool.on_thread(partial(self._stale_masters, now=now))
        fetched_at = self.calendar.fetched_at
        stale_calendar = fetched_at is None or fetched_at < rebuilt_at(now)
        if stale_masters or stale_calendar:
            self._tried_at = now
            async with UpstoxApi(self._settings) as api:
                if stale_calendar:
                    await self._refresh_calendar(api, now)
                # If we can begin without a new list, a slow download waits until later, beside the feed.
                within_s = self._settings.http_timeout_s if (is_any or not is_needed) and not has_begun else None
                for exchange in stale_masters:
                    await self._refresh_master(api, pool, exchange, now, within_s)
        if self._told is not self.calendar:
            await pool.on_thread(self.note_opens)
            self._told = self.calendar

    def note_opens(self, connection: psycopg.Connection[Any]) -> None:
        """Store in the database when the calendar's sessions open."""
        note_opens(connection, opens_of(self.calendar))

    def _source(self, exchange: str) -> str:
        return self._settings.assets_url + MASTER_PATH.format(exchange=exchange)

    def _stale_masters(self, connection: psycopg.Connection[Any], now: datetime) -> tuple[list[str], bool]:
        """Return the exchanges whose master of today is missing, and whether there is any master."""
        exchanges = self._settings.exchanges
        stale: list[str] = [name for name in exchanges if not is_fresh(connection, self._source(name), now)]
        return stale, loaded_at(connection) is not None

    async def _refresh_calendar(self, api: UpstoxApi, now: datetime) -> None:
        try:
            self.calendar = await refresh_calendar(api, self._settings.home, self._settings.api_url, now)
            self._errors.of("market calendar").over()
        except FeedError as exc:
            self._errors.of("market calendar").happened(exc)
            of = self.calendar.fetched_at
            age = f"that of {ist(of)}" if of else "the built-in one"
            log.warning("market calendar not refreshed, %s is used error=%s", age, exc)

    async def _refresh_master(
        self, api: UpstoxApi, pool: Pool, exchange: str, now: datetime, within_s: float | None
    ) -> None:
        last_error = self._errors.of(f"instrument master {exchange}")
        try:
            await self._load_master(api, pool, exchange, now, within_s)
        except FeedError as exc:  # not received, or damaged
            last_error.happened(exc)
            age = await pool.on_thread(partial(master_age, now=now))
            log.warning("instrument master not refreshed, %s error=%s", age, exc)
        else:
            last_error.over()

    async def _load_master(
        self, api: UpstoxApi, pool: Pool, exchange: str, now: datetime, within_s: float | None
    ) -> None:
        source = self._source(exchange)
        try:
            async with asyncio.timeout(within_s):
                data = await api.instrument_master(exchange)
        except TimeoutError:
            self._tried_at = None
            raise FeedError(f"not there after {within_s:g} s: a recording goes on to fetch it") from None
        unpacked_bytes_max = self._settings.master_unpacked_bytes_max
        loaded = await pool.on_thread(
            partial(load_master, data=data, source=source, loaded_at=now, unpacked_bytes_max=unpacked_bytes_max)
        )
        log.info("instrument master loaded source=%s rows=%d", source, loaded.rows)
        if loaded.odd.count:
            log.warning("instrument master has odd rows source=%s said=%s", source, loaded.odd)
