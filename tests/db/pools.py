"""A pool in an event loop of its own, and its backends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ingest.database.pool import Pool
from tests.fault.harness import WITHIN_S

OURS = "select pid from pg_stat_activity where datname = current_database() and application_name = 'tickline pool'"


def used(url: str, work: Callable[[Pool], Awaitable[Any]], **sizes: Any) -> Any:
    """Run a coroutine function with a pool, and return its result."""

    async def run() -> Any:
        async with asyncio.timeout(WITHIN_S), Pool(url, **sizes) as pool:
            return await work(pool)

    return asyncio.run(run())


async def settled(pool: Pool) -> dict[str, int]:
    """Wait until no connection is in use or being opened; return the account."""
    while (account := pool.account())["idle"] < account["size"]:
        await asyncio.sleep(0.01)
    return account
