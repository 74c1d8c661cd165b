"""Lost keys: name the time in which nobody received the instruments of a lost collector, in the database.

A gap begins with the collector's newest tick and ends with the instrument's next one, whoever received it. Its first
minute is marked at once, and its last ones when it has ended, as those of a break of one connection are.
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


async def open_gaps(pool: Pool, collector: str, keys: Sequence[str], now: datetime) -> int:
    """Say that keys of a collector are not received from its newest tick on; return how many. Raises StoreError."""
    given = {"collector": collector, "instrument_keys": list(keys), "reason": REASON, "on": market_day(now)}

    def run(connection: psycopg.Connection[Any]) -> int:
        with connection.transaction():
            opened = connection.execute(query("assign/open_gaps"), given).fetchall()
            _mark(connection, [(id_, started, started) for id_, started in opened])
        return len(opened)

    return await pool.on_thread(run)


async def close_gaps(pool: Pool, keys: Sequence[str], now: datetime) -> int:
    """End the open gaps of those keys of which a tick has come since; return how many. Raises StoreError."""
    [(has_open,)] = await pool.rows("assign/has_open_gaps", {"reason": REASON})
    if not has_open:
        return 0
    given = {"instrument_keys": list(keys), "reason": REASON, "on": market_day(now)}

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
