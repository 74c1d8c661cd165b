"""Questions that a running program asks of the database beside its work: one at a time, and none while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg

from ingest.database.connections import connect, translated
from ingest.database.pool import Pool
from ingest.errors import StoreError
from ingest.worker_thread import in_background

ANSWERED_S = 3.0  # so long an answer is waited for

Found = TypeVar("Found")


class Questions:
    """What asks a database.

    Parameters
    ----------
    pool, url
        The database.
    is_away
        Whether it is known to be away.
    """

    def __init__(self, pool: Pool, url: str, is_away: Callable[[], bool]) -> None:
        self.pool = pool
        self._url, self._is_away = url, is_away
        self._turn = asyncio.Lock()

    async def rows(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query of ours.

        Raises
        ------
        StoreError
            If the database is away, or does not answer in time.
        """
        async with self._answered():
            return await self.pool.rows(name, parameters)

    async def ask(self, question: Callable[[psycopg.Connection[Any]], Found]) -> Found:
        """Return what a function finds with a connection, on a thread; raises as `rows` does."""
        async with self._answered():
            return await asyncio.wrap_future(in_background("question", self._answer, question))

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(ANSWERED_S), self._turn:
                if self._is_away():
                    raise StoreError("database is away: wait until it is there again")
                yield
        except TimeoutError:
            raise StoreError(f"database has not answered for {ANSWERED_S:g} s: see `tickline db status`") from None

    def _answer(self, question: Callable[[psycopg.Connection[Any]], Found]) -> Found:
        with translated(), connect(self._url, autocommit=True) as connection:
            return question(connection)
