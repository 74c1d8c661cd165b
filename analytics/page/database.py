"""The database, as the page asks it: a few connections of its reader, and why it does not answer."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Any, Self

from ingest.database.connections import Database, check_schema, connect
from ingest.database.pool import Pool
from ingest.errors import Retryable, StoreError, TicklineError

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 3  # watch list, charts and option chain at once
ANSWERED_S = 5.0  # the longest question takes a second


class Store:
    """Ask one database, which may be away.

    Parameters
    ----------
    database
        Where it is; an embedded server is started at the first question.

    Attributes
    ----------
    error
        Why the last question was not answered; "": it was.
    comes_back
        Whether the database is only away; otherwise somebody must do what the error says.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool: Pool | None = None
        self._url = ""  # of the pool
        self._opening = asyncio.Lock()
        self._away_since: float | None = None
        self.error = ""
        self.comes_back = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.__aexit__(None, None, None)

    async def rows(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query of `sql/queries/page/`.

        Raises
        ------
        TicklineError
            If the database is away, refuses the question, or does not answer in time.
        """
        try:
            async with asyncio.timeout(ANSWERED_S):
                found = await (await self._opened()).rows(f"page/{name}", parameters)
        except TimeoutError:
            self._failed(f"database has not answered for {ANSWERED_S:g} s: see `tickline db status`")
            raise StoreError(self.error) from None
        except TicklineError as exc:
            self._failed(str(exc), comes_back=isinstance(exc, Retryable))
            raise
        if self._away_since is not None:
            log.info("database answers again after=%.1f s", time.monotonic() - self._away_since)
        self._away_since, self.error = None, ""
        return found

    def _failed(self, text: str, *, comes_back: bool = True) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("database does not answer: %s", text)
        self.error, self.comes_back = text, comes_back

    async def _opened(self) -> Pool:
        async with self._opening:
            if self._pool is None or self._database.may_move:
                url = await asyncio.to_thread(self._place)
                if url != self._url:  # a replica that died, or is back
                    await self.__aexit__(None, None, None)
                    self._pool = await Pool(url, size_max=CONNECTIONS_MAX).__aenter__()
                    self._url = url
            assert self._pool is not None
            return self._pool

    def _place(self) -> str:
        """Return the URL to read from; start an embedded server if it does not run; see that the schema is ours."""
        self._database.bring_up()
        url = self._database.reader_url
        if url != self._url:
            with connect(url) as connection:
                check_schema(connection)
        return url
