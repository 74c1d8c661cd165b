"""Questions that a running program asks of the database beside its work: one at a time, and none while it is away.

A database that hangs holds a thread for each question; the threads of the process are the journal's, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from ingest.database.connections import connect, translated
from ingest.database.queries import query
from ingest.errors import StoreError

ANSWERED_S = 3.0  # so long an answer is waited for

Found = TypeVar("Found")


class Questions:
    """What asks a database.

    Parameters
    ----------
    url
        The database.
    is_away
        Whether it is known to be away.
    """

    def __init__(self, url: str, is_away: Callable[[], bool]) -> None:
        self._url, self._is_away = url, is_away
        self._asking: asyncio.Future[Any] | None = None

    async def rows(self, name: str, parameters: dict[str, Any]) -> list[Any]:
        """Return the rows of a query of ours; raises as `ask` does."""
        return await self.ask(lambda connection: connection.execute(query(name), parameters).fetchall())

    async def ask(self, question: Callable[[psycopg.Connection[Any]], Found]) -> Found:
        """Return what a function finds with a connection, on a thread.

        Raises
        ------
        StoreError
            If the database is away, or does not answer in time.
        """
        try:
            async with asyncio.timeout(ANSWERED_S):
                while self._asking is not None and not self._asking.done():
                    await asyncio.wait({self._asking})
                if self._is_away():
                    raise StoreError("database is away: wait until it is there again")
                asking = asyncio.ensure_future(asyncio.to_thread(self._answer, question))
                self._asking = asking
                asking.add_done_callback(lambda done: done.cancelled() or done.exception())
                return await asyncio.shield(asking)
        except TimeoutError:
            raise StoreError(f"database has not answered for {ANSWERED_S:g} s: see `tickline db status`") from None

    def _answer(self, question: Callable[[psycopg.Connection[Any]], Found]) -> Found:
        with translated(), connect(self._url, autocommit=True) as connection:
            return question(connection)
