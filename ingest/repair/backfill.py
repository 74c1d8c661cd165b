"""Backfill: fetch the vendor's own bars by REST for the minutes that were not received completely.

The database knows what is to be done (`unheard_minutes`), and each instrument is committed on its own,
so a backfill may be stopped and restarted at any time. Existing bars are never overwritten: a bar that
differs from REST is counted. What cannot be repaired stays marked and is listed with the reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from ingest.errors import AuthorizationError, FeedError
from ingest.market.time import MINUTE_MS, day_span, market_day, utc_of_ms
from ingest.repair.backfill_store import Store, Task
from ingest.upstox.rest import QUOTES_KEYS_MAX, UpstoxApi, chunks

log = logging.getLogger(__name__)

CANDLE_LAG = timedelta(minutes=4)  # candles appear 2 to 3 minutes late; after this, a minute without one had no trade


class Unrepaired(NamedTuple):
    """Minutes that could not be repaired."""

    instrument_key: str
    buckets: list[datetime]
    reason: str


@dataclass(slots=True)
class Repair:
    """Result of a backfill."""

    requests: int = 0
    repaired: int = 0  # unheard minutes that are complete now
    added: int = 0  # new official bars
    differing: int = 0  # existing bars that differ from REST
    gaps: int = 0  # gaps repaired now
    left: list[Unrepaired] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(slots=True)
class Backfill:
    """Repair of unheard minutes.

    Parameters
    ----------
    api, store
        The vendor's REST API, and the database.
    show
        Called with each task before its request, and the number of tasks.
    """

    api: UpstoxApi
    store: Store
    show: Callable[[Task, int], None] = lambda task, count: None

    async def run(self, tasks: Sequence[Task], now: datetime) -> Repair:
        """Repair tasks with candles: one request per instrument and day (for past days, one for up to 28).

        Parameters
        ----------
        tasks
            What to repair, in this order.
        now
            The market's time: its day has intraday candles, earlier days have historical ones.

        Raises
        ------
        AuthorizationError
            If the token is refused; other refusals only leave the minutes unrepaired.
        StoreError
            If the database cannot be written.
        """
        repair = Repair()
        if not tasks:
            return repair
        store = self.store
        span = day_span(min(task.day for task in tasks))[0], day_span(max(task.day for task in tasks))[1]
        repair.repaired, repair.gaps = await store.settle(*span)
        for task in tasks:
            self.show(task, len(tasks))
            if not await store.unheard(task):
                continue  # the feed has brought it
            reason = ""
            if task.has_expired(now):
                reason = "contract has expired, or has no name to tell: its key may be another's now"
            elif task.day > market_day(now):
                reason = "not traded yet"
            else:
                try:
                    await self._repair(store, task, now, repair)
                except AuthorizationError:
                    raise
                except FeedError as exc:
                    reason = str(exc)
            if buckets := await store.unheard(task):
                repair.left.append(Unrepaired(task.instrument_key, buckets, reason or self._why(buckets, now)))
        forgotten, gaps = await store.settle(*span)
        repair.repaired += forgotten
        repair.gaps += gaps
        return repair

    async def _repair(self, store: Store, task: Task, now: datetime, repair: Repair) -> None:
        start, end = day_span(task.day)
        repair.requests += 1
        if task.day == market_day(now):
            source, until = "intraday", min(end, now - CANDLE_LAG)
            candles = await self.api.intraday_candles(task.instrument_key)
        else:
            source, until = "historical", end
            candles = await self.api.historical_candles(task.instrument_key, task.day, task.day)
        # There may be candles of another day too: on a holiday the vendor answers with the last session.
        # The newest may still be forming.
        candles = [candle for candle in candles if start <= utc_of_ms(candle.bucket_ms) < until]
        # An answer without candles is also believed if we know of no trade: most options have none in a day.
        believed = bool(candles) or not await store.has_traded(task)
        added, differing, repaired = await store.fill(task, candles, source, start, until if believed else None)
        repair.added += added
        repair.differing += differing
        repair.repaired += repaired

    def _why(self, buckets: Iterable[datetime], now: datetime) -> str:
        if all(bucket >= now - CANDLE_LAG for bucket in buckets):
            return "not published yet: try again in some minutes"
        return "the vendor has no bar of this minute"

    async def last_minute(self, tasks: Sequence[Task], now: datetime) -> Repair:
        """Repair the last completed minute with quotes: one request per 500 instruments."""
        repair = Repair()
        store = self.store
        minute_ms = (int(now.timestamp() * 1000) // MINUTE_MS - 1) * MINUTE_MS
        minute = utc_of_ms(minute_ms)
        wanted = {
            task.instrument_key: task
            for task in tasks
            if not task.has_expired(now) and task.first <= minute <= task.last
        }
        for keys in chunks(list(wanted), QUOTES_KEYS_MAX):
            repair.requests += 1
            for key, candle in (await self.api.minute_quotes(keys)).items():
                if (task := wanted.get(key)) and candle.bucket_ms == minute_ms:
                    counts = await store.fill(task, [candle], "ohlc", minute, None)
                    repair.added += counts[0]
                    repair.differing += counts[1]
                    repair.repaired += counts[2]
        return repair


class BackfillScheduler:
    """Backfill during a running feed: what is still to repair, and what has been given up.

    Parameters
    ----------
    backfill
        Does the repair.
    keys_max
        Instruments per round: one request each.
    tries_max
        Attempts per instrument and day.
    """

    def __init__(self, backfill: Backfill, *, keys_max: int = 100, tries_max: int = 3) -> None:
        self.backfill, self.keys_max, self.tries_max = backfill, keys_max, tries_max
        self._tries: Counter[tuple[int, date]] = Counter()

    async def round(self, now: datetime) -> Repair | None:
        """Repair what can be repaired at a market time; None if there is nothing to do.

        Minutes that the feed has brought meanwhile need no request; the last completed minute needs one per
        500 instruments; older, published minutes need one per instrument.
        """
        store = self.backfill.store
        start, end = day_span(market_day(now))
        forgotten, gaps = await store.settle(start, end)
        tasks = await store.tasks(start, end)
        tasks = [task for task in tasks if self._tries[task.instrument_id, task.day] < self.tries_max]
        quick = await self.backfill.last_minute(tasks, now)
        due = [task for task in tasks if task.last < now - CANDLE_LAG][: self.keys_max]
        self._tries.update((task.instrument_id, task.day) for task in due)
        repair = await self.backfill.run(due, now)
        repair.repaired += forgotten + quick.repaired
        repair.gaps += gaps
        repair.added += quick.added
        repair.requests += quick.requests
        return repair if repair.repaired or repair.left else None
