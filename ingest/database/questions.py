"""Ask the database during a run: one question at a time, and none while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg

from ingest.database.pool import Pool
from ingest.errors import StoreError

ANSWERED_S = 3.0  # time limit of an answer, including the wait for earlier questions

AWAY = "database is away: wait until it is there again"

Found = TypeVar("Found")


class Questions:
    """Ask questions of one database.

    Parameters
    ----------
    pool
        Connections to the database.
    is_askable
        Returns whether the database may be asked: it is not known to be away.
    why_not
        Text of the error while it may not.
    """

    def __init__(self, pool: Pool, is_askable: Callable[[], bool], why_not: str = AWAY) -> None:
        self.pool = pool
        self._is_askable, self._why_not = is_askable, why_not
        self._turn = asyncio.Lock()

    def beside(self) -> Questions:
        """Return another object for the same database, with turns of its own: its questions wait for none of these."""
        return Questions(self.pool, self._is_askable, self._why_not)

    async def rows(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query of `sql/queries/`.

        Raises
        ------
        StoreError
            If the database is away, or does not answer in time.
        """
        async with self._answered():
            return await self.pool.rows(name, parameters)

    async def ask(self, question: Callable[[psycopg.Connection[Any]], Found]) -> Found:
        """Return the result of a function that uses a connection, run on a thread; raises as `rows` does."""
        async with self._answered():
            return await self.pool.on_thread(question)

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(ANSWERED_S), self._turn:
                if not self._is_askable():
                    raise StoreError(self._why_not)
                yield
        except TimeoutError:
            raise StoreError(f"database has not answered for {ANSWERED_S:g} s: see `tickline db status`") from None
