"""Rebuild the bars of minutes that have new ticks; the work is proportional to these minutes.

A single range from the first touched minute to the last would be the whole day after one late row.
The transaction that commits ticks records their minutes in the database, so the next process makes the bars
that a killed one left. While a collector writes, the newest bars still form: they are computed when read, and
their minute stays recorded. When no collector writes, they are made too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from ingest.database.connections import connect, translated
from ingest.database.pool import Pool, PoolConnection
from ingest.database.queries import query
from ingest.market.time import MINUTE_US, utc_of_us

FIVE_MINUTES_S = 300
HOUR = timedelta(hours=1)
# Errors while another session works on the same bars, a refresh by hand or the columnstore policy; retried for 30 s.
BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
BUSY_S_MAX = 30.0
BUSY_POLL_S = 0.2


def touching(times_us: NDArray[np.float64]) -> tuple[str, dict[str, Any]]:
    """Return the statement that records the minutes of ticks as touched, and its parameters.

    It belongs to the transaction that commits the ticks.

    Parameters
    ----------
    times_us
        Event times of the rows, microseconds since the epoch; at least one.
    """
    return query("store/touch_minutes"), {"times": [utc_of_us(us) for us in newest_of_minutes(times_us).tolist()]}


def newest_of_minutes(times_us: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the newest time of each minute, oldest first, in microseconds.

    Examples
    --------
    >>> (newest_of_minutes(np.array([59e6, 0.0, 600e6, 60e6])) / 1e6).tolist()
    [59.0, 60.0, 600.0]
    """
    newest_us: NDArray[np.float64] = times_us.max(keepdims=True)
    if newest_us[0] // MINUTE_US == times_us.min() // MINUTE_US:
        return newest_us
    times_us = np.sort(times_us)
    return times_us[np.flatnonzero(np.diff(times_us // MINUTE_US, append=np.inf))]


async def refresh_touched(
    pool: Pool, *, ended: str | None = None, show: Callable[[int, int], None] = lambda _, __: None
) -> None:
    """Rebuild the bars of touched minutes; minutes that fail or still form stay recorded.

    Parameters
    ----------
    pool
        Pool of connections to the database.
    ended
        Name of a collector that writes nothing more, although it is still connected.
    show
        Called before each range of minutes with its number and the number of ranges.

    Raises
    ------
    StoreError
        If the database cannot be written.
    """
    async with _refreshing(pool) as connection:
        is_written = await _form_from(connection, ended) is not None
        ranges = await (await connection.execute(query("store/touched_ranges"))).fetchall()
        for number, (start, end, minutes, touched_by) in enumerate(ranges, 1):
            show(number, len(ranges))
            until = end if is_written or number < len(ranges) else _end_of_bars(end)
            await _refresh(connection, start, until)
            await _forget(connection, minutes, touched_by, until)
        if len(ranges) > 1:  # the next range makes the last minute of a range
            minutes, touched_by = ([one for row in ranges for one in row[column]] for column in (2, 3))
            await _forget(connection, minutes, touched_by, until)


async def refresh_bars(
    pool: Pool, start: datetime, end: datetime, *, show: Callable[[int, int], None] = lambda _, __: None
) -> None:
    """Rebuild the bars of the half-open range [start, end), one-minute then five-minute; skip those that still form.

    Parameters
    ----------
    pool
        Pool of connections to the database.
    start, end
        Multiples of five minutes. Each hour is a transaction of its own.
    show
        Called before each hour with the number of hours that are done, and with that of all.

    Raises
    ------
    StoreError
        If the database cannot be written.
    """
    async with _refreshing(pool) as connection:
        until = min(end, await _form_from(connection) or end)
        hours = max(1, -(-(until - start) // HOUR))
        for number in range(hours):
            show(number, hours)
            await _refresh(connection, start + number * HOUR, min(start + (number + 1) * HOUR, until))


@contextmanager
def bars_at_rest(url: str) -> Iterator[None]:
    """Keep all sessions from making bars during the block; they wait for its end.

    Raises
    ------
    StoreError
        If the database cannot be reached.
    """
    with connect(url, autocommit=True, application_name="tickline bars at rest") as connection:
        with translated():
            connection.execute(query("store/lock_bars_shared"))
        yield


async def _forget(connection: PoolConnection, minutes: list[datetime], touched_by: list[str], until: datetime) -> None:
    """Delete touched minutes whose bars are made up to `until`."""
    made = {"minutes": minutes, "touched_by": touched_by, "made_until": until}
    await connection.execute(query("store/forget_minutes"), made)


async def _form_from(connection: PoolConnection, ended: str | None = None) -> datetime | None:
    """Return the time from which bars still form; None: no collector writes."""
    row = await (await connection.execute(query("store/bars_form_from"), {"ended": ended})).fetchone()
    return row[0] if row else None


def _end_of_bars(end: datetime) -> datetime:
    """Return the end of the five minutes that contain a time."""
    return datetime.fromtimestamp(-(-end.timestamp() // FIVE_MINUTES_S) * FIVE_MINUTES_S, UTC)


@asynccontextmanager
async def _refreshing(pool: Pool) -> AsyncIterator[PoolConnection]:
    async with pool.connection() as connection:
        await connection.execute(query("store/lock_bars"))
        try:
            yield connection
        finally:
            if not connection.closed:  # the end of the session releases the lock too
                await connection.execute("select pg_advisory_unlock_all()")


async def _refresh(connection: PoolConnection, start: datetime, end: datetime) -> None:
    deadline = time.monotonic() + BUSY_S_MAX
    while True:
        try:
            await connection.execute(query("store/refresh_bars"), {"from_ts": start, "to_ts": end})
        except BUSY:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(BUSY_POLL_S)
        else:
            return
