"""What all browsers see, kept current by one set of tasks: asked once a second, however many look.

Owns the tasks and how often each asks. Must not know how anything is shown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from analytics.market_time import day_start
from analytics.page.api import ApiError, Ingester
from analytics.page.chain import Expiry, expiries, read_chain
from analytics.page.charts import Charts
from analytics.page.database import Store
from analytics.page.delays import Buckets, committed_within, quantile_ms
from analytics.page.judgement import Seen
from analytics.page.watch_list import WatchList
from ingest.errors import TicklineError

log = logging.getLogger(__name__)

API_S = 1.0
LIST_S = 10.0  # all instruments; those in view come by API_S
SIGNALS_S = 1.0
DELAYS_S = 5.0
GAPS_S = 5.0
SPARKS_S = 15.0  # of minutes
CHARTS_S = 1.0
CHAIN_S = 2.0
INSTRUMENTS_MAX = 5_000  # rows of the watch list
IN_VIEW_MAX = 200  # keys asked for each second
SIGNALS_MAX = 200
GAPS_MAX = 100
RATES_KEPT = 120  # two minutes
SPARK_FOR = timedelta(minutes=60)
DELAYS_KEPT = 13  # answers of the metrics: a minute
DELAYS_MIN = 5  # instruments, for a median that says something


class Board:
    """What was last heard of ingester and database.

    Parameters
    ----------
    ingester
        Its API.
    store
        The database.
    """

    def __init__(self, ingester: Ingester, store: Store) -> None:
        self.seen = Seen()
        self.watch = WatchList()
        self.charts = Charts(store)
        self.signals: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.expiries: list[Expiry] = []
        self.chains: dict[Expiry, list[dict[str, Any]]] = {}
        self.version = 0  # of `seen`
        self._ingester, self._store = ingester, store
        self._views: dict[str, tuple[str, ...]] = {}
        self._chain_of: dict[str, Expiry] = {}
        self._newest: datetime | None = None  # tick
        self._updates: tuple[float, int] | None = None  # when, and how many there were
        self._sockets: dict[str, int] = {}
        self._committed: deque[Buckets] = deque(maxlen=DELAYS_KEPT)

    async def run(self) -> None:
        """Keep everything current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for ask, every_s in (
                (self._ask_api, API_S),
                (self._ask_list, LIST_S),
                (self._ask_delays, DELAYS_S),
                (self._ask_signals, SIGNALS_S),
                (self._ask_gaps, GAPS_S),
                (self._ask_sparks, SPARKS_S),
                (self.charts.refresh, CHARTS_S),
                (self._ask_chains, CHAIN_S),
            ):
                tasks.create_task(self._repeat(ask, every_s))

    async def _repeat(self, ask: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            try:
                await ask()
            except TicklineError:
                pass  # the database is away; `Store` knows why, and the page says so
            except Exception:
                log.exception("a part of the page could not be brought up to date")
            self.seen.database_error, self.seen.database_comes_back = self._store.error, self._store.comes_back
            # After an outage everything is asked again soon, not at its usual time.
            await asyncio.sleep(min(every_s, API_S) if self._store.error else every_s)

    @property
    def now(self) -> datetime:
        """The market's time: that of a simulated market may be ahead of the clock."""
        found = [datetime.now(UTC)]
        if self.seen.status and (at := self.seen.status.get("market_time")):
            found.append(datetime.fromisoformat(at))
        if self._newest is not None:
            found.append(self._newest)
        return max(found)

    @property
    def session(self) -> datetime:
        """Local midnight of the newest session."""
        return day_start(self._newest or self.now)

    def look_at(self, viewer: str, keys: Iterable[str]) -> None:
        """Note which keys a browser shows."""
        self._views[viewer] = tuple(keys)[:IN_VIEW_MAX]

    def look_at_chain(self, viewer: str, asked: Expiry | None) -> None:
        """Note which chain a browser shows."""
        self._chain_of.pop(viewer, None)
        if asked is not None:
            self._chain_of[viewer] = asked

    def look_away(self, viewer: str) -> None:
        """Forget a browser that has gone."""
        self._views.pop(viewer, None)
        self._chain_of.pop(viewer, None)

    def in_view(self) -> list[str]:
        """Return the keys that any browser shows."""
        keys = dict.fromkeys(key for keys in self._views.values() for key in keys)
        return list(keys)[:IN_VIEW_MAX]

    async def _ask_api(self) -> None:
        try:
            status, health, latest = await asyncio.gather(
                self._ingester.status(), self._ingester.health(), self._ingester.latest(self.in_view())
            )
        except ApiError as exc:
            self.seen.api_error = str(exc)
            self._updates = None
            self.seen.ticks_per_s.clear()
        else:
            self._note_reconnections(status)
            self._note_rate(latest["price_updates"])
            self.watch.ticked({tick["instrument_key"]: tick for tick in latest["latest_ticks"].values()})
            self.watch.judged(status["subscribed_keys"], status["silent_keys"], status["failed_keys"])
            self.seen.status, self.seen.health, self.seen.api_error = status, health, ""
        self.version += 1

    async def _ask_delays(self) -> None:
        """Compare what the metrics count with what they counted a minute ago."""
        try:
            self._committed.append(committed_within(await self._ingester.metrics()))
        except (ApiError, ValueError):
            self._committed.clear()
            self.seen.commit_ms = None
            return
        before, now = self._committed[0], self._committed[-1]
        p50, p99 = (quantile_ms(before, now, share) for share in (0.5, 0.99))
        self.seen.commit_ms = None if p50 is None or p99 is None else (p50, p99)

    def _note_rate(self, updates: int) -> None:
        now = time.monotonic()
        if self._updates is not None and updates >= self._updates[1]:
            before, count = self._updates
            self.seen.ticks_per_s.append((updates - count) / max(now - before, 1e-3))
            del self.seen.ticks_per_s[:-RATES_KEPT]
        self._updates = now, updates

    def _note_reconnections(self, status: dict[str, Any]) -> None:
        opened = {one["name"]: one["connections"] for one in status["connections"]}
        for name, count in opened.items():
            if count > self._sockets.get(name, count):
                self.seen.reconnected[name] = time.monotonic()
        self._sockets = opened

    async def _ask_list(self) -> None:
        found = await self._store.rows("watched_instruments", {"most": INSTRUMENTS_MAX})
        self.watch.listed(found)
        if unnamed := self.watch.unnamed():
            self.watch.named(await self._store.rows("names_of_keys", {"instrument_keys": unnamed}))
        self._newest = max((row[9] for row in found), default=None)
        delays = [float(row[10]) for row in found if self._newest and self._newest - row[9] < timedelta(minutes=1)]
        self.seen.delay_ms = median(delays) if len(delays) >= DELAYS_MIN else None

    async def _ask_signals(self) -> None:
        names = (
            "id", "name", "bucket", "rules", "direction", "confidence", "price", "reason", "m5", "m15", "m60",
            "severity", "members", "member_names",
        )  # fmt: skip
        found = await self._store.rows("newest_signals", {"most": SIGNALS_MAX})
        self.signals = [dict(zip(names, row, strict=True)) for row in found]

    async def _ask_gaps(self) -> None:
        names = ("connection", "started", "ended", "reason", "instruments", "volume", "repaired_at", "gaps", "repaired")
        found = await self._store.rows("gaps_of_session", {"most": GAPS_MAX})
        self.gaps = [dict(zip(names, row, strict=True)) for row in found]
        breaks = [row for row in self.gaps if row["connection"] is not None]
        self.seen.gaps = breaks[0]["gaps"] if breaks else 0
        self.seen.repaired = breaks[0]["repaired"] if breaks else 0

    async def _ask_sparks(self) -> None:
        keys = {self.watch.ids[key]: key for key in self.in_view() if key in self.watch.ids}
        since = (self._newest or self.now) - SPARK_FOR
        found = await self._store.rows("recent_closes", {"instrument_ids": list(keys), "since": since})
        self.watch.drawn({keys[instrument_id]: closes for instrument_id, closes in found})

    async def sparks_now(self) -> None:
        """Draw the small charts of keys that have just come into view."""
        with suppress(TicklineError):
            await self._ask_sparks()

    async def _ask_chains(self) -> None:
        if not self._chain_of:
            return
        for asked in set(self._chain_of.values()):
            self.chains[asked] = await read_chain(self._store, asked, self.now, self._spot(asked.underlying_key))

    async def chains_there_are(self) -> list[Expiry]:
        """Return the underlyings and expiries with options; empty while the database is away."""
        with suppress(TicklineError):
            self.expiries = await expiries(self._store)
        return self.expiries

    async def chain_now(self, asked: Expiry) -> None:
        """Read a chain that has just come into view."""
        with suppress(TicklineError):
            self.chains[asked] = await read_chain(self._store, asked, self.now, self._spot(asked.underlying_key))

    def _spot(self, key: str) -> float | None:
        row = self.watch.row(key)
        return None if row is None else row["price"]
