"""Lost keys: name the time in which nobody received the instruments of a lost collector, in the database.

A gap begins with what the collector has received last, and ends when the feed has answered another collector that asked
for the instrument. Its first minute is marked at once, its last ones when it has ended, as those of a break are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

from ingest.database.pool import Pool
from ingest.database.queries import query
from ingest.market.time import market_day

REASON = "collector lost"  # stored in `feed_gaps`, so the wording stays


async def database_of(pool: Pool) -> str:
    """Return what the database is called among collectors. Raises StoreError."""
    return str((await pool.rows("lease/database_identity", {}))[0][0])


async def open_gaps(
    pool: Pool,
    collector: str,
    keys: Sequence[str],
    heard_until: datetime | None,
    now: datetime,
    *,
    began_at: datetime | None = None,
) -> int:
    """Say that keys of a collector are not received any more; return how many. Raises StoreError.

    Parameters
    ----------
    pool
        Connections.
    collector, keys
        The lost collector, and those of its keys that no other has.
    heard_until
        The feed's time that it said last; None: not known.
    now
        Our time, for what the keys mean.
    began_at
        When they were received last, if that is known better: of one connection, while others go on.
    """
    given: dict[str, Any] = {
        "collector": collector,
        "instrument_keys": list(keys),
        "reason": REASON,
        "on": market_day(now),
    }
    given |= {"heard_until": heard_until, "began_at": began_at}

    def run(connection: psycopg.Connection[Any]) -> int:
        with connection.transaction():
            opened = connection.execute(query("assign/open_gaps"), given).fetchall()
            _mark(connection, [(id_, started, started) for id_, started in opened])
        return len(opened)

    return await pool.on_thread(run)


async def has_open_gaps(pool: Pool) -> bool:
    """Return whether instruments of a lost collector are not received again yet. Raises StoreError."""
    [(has_open,)] = await pool.rows("assign/has_open_gaps", {"reason": REASON})
    return bool(has_open)


async def close_gaps(pool: Pool, keys: Sequence[str], ended_at: datetime, now: datetime) -> int:
    """End the open gaps of keys that were received again by `ended_at`; return how many. Raises StoreError."""
    given = {"instrument_keys": list(keys), "reason": REASON, "on": market_day(now), "ended_at": ended_at}

    def run(connection: psycopg.Connection[Any]) -> int:
        with connection.transaction():
            closed = connection.execute(query("assign/close_gaps"), given).fetchall()
            _mark(connection, closed)
        return len(closed)

    return await pool.on_thread(run)


def _mark(connection: psycopg.Connection[Any], gaps: Sequence[tuple[Any, ...]]) -> None:
    """Mark the minutes that gaps touch: instrument id, start and end."""
    if not gaps:
        return
    ids, started, ended = map(list, zip(*gaps, strict=True))
    given = {"instrument_ids": ids, "started": started, "ended": ended, "gaps": [True] * len(ids)}
    connection.execute(query("store/note_unheard"), given)
