"""Backfill: fetch the vendor's own bars by REST for the minutes that were not heard completely.

The database knows what is to be done (`unheard_minutes`), and each instrument is committed on its own,
so a backfill may be stopped and restarted at any time. Existing bars are never overwritten: a bar that
differs from REST is counted. What cannot be repaired stays marked and is listed with the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from ingest.database.connections import connect, translated
from ingest.database.queries import query
from ingest.errors import AuthorizationError, FeedError
from ingest.market.time import IST, MINUTE_MS
from ingest.upstox.answers import Candle
from ingest.upstox.rest import QUOTES_KEYS_MAX, UpstoxApi, chunks

log = logging.getLogger(__name__)

CANDLE_LAG = timedelta(minutes=4)  # candles appear 2 to 3 minutes late; after this, a minute without one had no trade
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Task(NamedTuple):
    """One day of an instrument that needs repair."""

    instrument_id: int
    instrument_key: str
    day: date  # market-local
    last_day: date | None  # last day on which the key is known to mean this instrument; None: the key is not reused
    first: datetime  # unheard minutes: first, last, number
    last: datetime
    minutes: int

    def has_expired(self, now: datetime) -> bool:
        """Return whether the key means another contract now, or none, or may do so."""
        return self.last_day is not None and self.last_day < (now + IST).date()


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


class Store:
    """Database access of backfill; each call is a connection and a transaction of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _run(self, *statements: tuple[str, dict[str, Any]]) -> list[list[Any]]:
        with connect(self._url, application_name="tickline backfill") as connection:
            with translated():
                cursors = [connection.execute(query(name), parameters) for name, parameters in statements]
                found = [cursor.fetchall() if cursor.description else [(cursor.rowcount,)] for cursor in cursors]
                connection.commit()
            return found

    def tasks(self, start: datetime, end: datetime, instrument_ids: Sequence[int] | None = None) -> list[Task]:
        """Return what needs repair in a range, most hidden volume first."""
        given = {"start": start, "end": end, "instrument_ids": None if instrument_ids is None else list(instrument_ids)}
        return [Task(*row) for row in self._run(("repair/unheard_days", given))[0]]

    def settle(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Clear minutes that have their official bar, and note repaired gaps; return the number of both."""
        span = {"start": start, "end": end}
        forgotten, [[gaps]] = self._run(
            ("repair/settle_unheard", span | {"instrument_ids": None, "asked": False}), ("repair/settle_gaps", span)
        )
        return len(forgotten), int(gaps)

    def fill(
        self, task: Task, candles: Sequence[Candle], source: str, start: datetime, asked_until: datetime | None
    ) -> tuple[int, int, int]:
        """Store bars and clear the minutes that they repair; return how many are new, differ, are repaired.

        `asked_until`: a minute before it without a candle had no trade; None: a missing candle means nothing.
        """
        is_index = task.instrument_key.partition("|")[0].endswith("_INDEX")
        bars = [candle for candle in candles if is_index or candle.volume]
        columns = {
            "buckets": [_time(bar.bucket_ms) for bar in bars],
            **{name: [getattr(bar, name) for bar in bars] for name in ("open", "high", "low", "close")},
            "volumes": [None if is_index else bar.volume for bar in bars],
            "ois": [bar.oi or None for bar in bars],
        }
        settle = {"instrument_ids": [task.instrument_id], "asked": asked_until is not None, "start": start}
        [[counts], forgotten] = self._run(
            ("repair/fill_official_bars", {"instrument_id": task.instrument_id, "source": source} | columns),
            ("repair/settle_unheard", settle | {"end": asked_until or _ALWAYS[1]}),
        )
        return int(counts[0]), int(counts[1]), len(forgotten)

    def has_traded(self, task: Task) -> bool:
        """Return whether we know of a trade of the instrument on that day."""
        start, end = day_span(task.day)
        given = {"instrument_id": task.instrument_id, "start": start, "end": end}
        return bool(self._run(("repair/has_traded", given))[0][0][0])

    def unheard(self, task: Task) -> list[datetime]:
        """Return the remaining minutes of a task."""
        start, end = day_span(task.day)
        given = {"instrument_id": task.instrument_id, "start": start, "end": end}
        return [row[0] for row in self._run(("repair/unheard_minutes", given))[0]]


@dataclass(slots=True)
class Backfill:
    """Repair of unheard minutes.

    Parameters
    ----------
    api, url
        The vendor's REST API, and the database.
    show
        Called with each task before its request, and the number of tasks.
    """

    api: UpstoxApi
    url: str
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
        store = Store(self.url)
        span = day_span(min(task.day for task in tasks))[0], day_span(max(task.day for task in tasks))[1]
        repair.repaired, repair.gaps = await asyncio.to_thread(store.settle, *span)
        for task in tasks:
            self.show(task, len(tasks))
            if not await asyncio.to_thread(store.unheard, task):
                continue  # the feed has brought it
            reason = ""
            if task.has_expired(now):
                reason = "contract has expired, or has no name to tell: its key may be another's now"
            elif task.day > (now + IST).date():
                reason = "not traded yet"
            else:
                try:
                    await self._repair(store, task, now, repair)
                except AuthorizationError:
                    raise
                except FeedError as exc:
                    reason = str(exc)
            if buckets := await asyncio.to_thread(store.unheard, task):
                repair.left.append(Unrepaired(task.instrument_key, buckets, reason or self._why(buckets, now)))
        forgotten, gaps = await asyncio.to_thread(store.settle, *span)
        repair.repaired += forgotten
        repair.gaps += gaps
        return repair

    async def _repair(self, store: Store, task: Task, now: datetime, repair: Repair) -> None:
        start, end = day_span(task.day)
        repair.requests += 1
        if task.day == (now + IST).date():
            source, until = "intraday", min(end, now - CANDLE_LAG)
            candles = await self.api.intraday_candles(task.instrument_key)
        else:
            source, until = "historical", end
            candles = await self.api.historical_candles(task.instrument_key, task.day, task.day)
        # There may be candles of another day too: on a holiday the vendor answers with the last session.
        # The newest may still be forming.
        candles = [candle for candle in candles if start <= _time(candle.bucket_ms) < until]
        # An answer without candles is also believed if we know of no trade: most options have none in a day.
        believed = bool(candles) or not await asyncio.to_thread(store.has_traded, task)
        added, differing, repaired = await asyncio.to_thread(
            store.fill, task, candles, source, start, until if believed else None
        )
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
        store = Store(self.url)
        minute_ms = (int(now.timestamp() * 1000) // MINUTE_MS - 1) * MINUTE_MS
        minute = _time(minute_ms)
        wanted = {
            task.instrument_key: task
            for task in tasks
            if not task.has_expired(now) and task.first <= minute <= task.last
        }
        for keys in chunks(list(wanted), QUOTES_KEYS_MAX):
            repair.requests += 1
            for key, candle in (await self.api.minute_quotes(keys)).items():
                if (task := wanted.get(key)) and candle.bucket_ms == minute_ms:
                    counts = await asyncio.to_thread(store.fill, task, [candle], "ohlc", minute, None)
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
        store = Store(self.backfill.url)
        start, end = day_span((now + IST).date())
        forgotten, gaps = await asyncio.to_thread(store.settle, start, end)
        tasks = await asyncio.to_thread(store.tasks, start, end)
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


def day_span(day: date) -> tuple[datetime, datetime]:
    """Return a market-local day as a half-open range of aware UTC."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - IST
    return start, start + timedelta(days=1)


def _time(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
