"""Backfill store: read unheard minutes from the database, and write the bars that repair them.

Must not know where the bars come from, or when they are requested.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from ingest.database.pool import Pool
from ingest.database.queries import query
from ingest.market.time import day_span, market_day, utc_of_ms
from ingest.upstox.answers import Candle

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


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
        return self.last_day is not None and self.last_day < market_day(now)


class Store:
    """Database access of backfill; each call is a transaction of its own. All raise as `Pool.connection` does."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def _run(self, *statements: tuple[str, dict[str, Any]]) -> list[list[Any]]:
        async with self._pool.connection() as connection, connection.transaction():
            cursors = [await connection.execute(query(name), parameters) for name, parameters in statements]
            return [await cursor.fetchall() if cursor.description else [(cursor.rowcount,)] for cursor in cursors]

    async def tasks(self, start: datetime, end: datetime, instrument_ids: Sequence[int] | None = None) -> list[Task]:
        """Return what needs repair in a range, most hidden volume first."""
        given = {"start": start, "end": end, "instrument_ids": None if instrument_ids is None else list(instrument_ids)}
        return [Task(*row) for row in await self._pool.rows("repair/unheard_days", given)]

    async def settle(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Clear minutes that have their official bar, and note repaired gaps; return the number of both."""
        span = {"start": start, "end": end}
        forgotten, [[gaps]] = await self._run(
            ("repair/settle_unheard", span | {"instrument_ids": None, "asked": False}), ("repair/settle_gaps", span)
        )
        return len(forgotten), int(gaps)

    async def fill(
        self, task: Task, candles: Sequence[Candle], source: str, start: datetime, asked_until: datetime | None
    ) -> tuple[int, int, int]:
        """Store bars and clear the minutes that they repair; return how many are new, differ, are repaired.

        `asked_until`: a minute before it without a candle had no trade; None: a missing candle means nothing.
        """
        is_index = task.instrument_key.partition("|")[0].endswith("_INDEX")
        bars = [candle for candle in candles if is_index or candle.volume]
        columns = {
            "buckets": [utc_of_ms(bar.bucket_ms) for bar in bars],
            **{name: [getattr(bar, name) for bar in bars] for name in ("open", "high", "low", "close")},
            "volumes": [None if is_index else bar.volume for bar in bars],
            "ois": [bar.oi or None for bar in bars],
        }
        settle = {"instrument_ids": [task.instrument_id], "asked": asked_until is not None, "start": start}
        [[counts], forgotten] = await self._run(
            ("repair/fill_official_bars", {"instrument_id": task.instrument_id, "source": source} | columns),
            ("repair/settle_unheard", settle | {"end": asked_until or ALWAYS[1]}),
        )
        return int(counts[0]), int(counts[1]), len(forgotten)

    async def has_traded(self, task: Task) -> bool:
        """Return whether we know of a trade of the instrument on that day."""
        start, end = day_span(task.day)
        given = {"instrument_id": task.instrument_id, "start": start, "end": end}
        [[has_traded]] = await self._pool.rows("repair/has_traded", given)
        return bool(has_traded)

    async def unheard(self, task: Task) -> list[datetime]:
        """Return the remaining minutes of a task."""
        start, end = day_span(task.day)
        given = {"instrument_id": task.instrument_id, "start": start, "end": end}
        return [row[0] for row in await self._pool.rows("repair/unheard_minutes", given)]
