"""Pool: the connections of a running program, except the writer's.

Owns their number, how they are opened, checked and returned, and how a wait for one ends. Must not know the
queries.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg.waiting import wait_async
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from ingest.database.connections import NOTICE_A_DEAD_PEER, break_off, connect, translated
from ingest.database.queries import query
from ingest.errors import Retryable, StoreError
from ingest.worker_thread import in_background

# The caller gets the error; the library's log would repeat it without the remedy.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

WAKE_S = 1.0  # longest step of a wait, which the library wants to be named
CANCEL_S = 0.5  # time limit of telling the server that nobody waits any longer
CLOSE_S = 0.5  # time limit of the pool's own tasks at the end; then they are left behind

T = TypeVar("T")


class PoolConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection of a pool: in autocommit, with our session settings; cancelling a wait closes it."""

    @classmethod
    async def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        """Open a connection as `ingest.database.connections.connect` does, on a thread that no exit waits for.

        Parameters
        ----------
        conninfo
            libpq URL.
        parameters
            `refused`, which is called with the error of a failure.
        """
        try:
            connection = cls(await asyncio.wrap_future(in_background("pool connect", _opened, conninfo)))
        except Exception as exc:
            parameters["refused"](exc)
            raise
        await connection.set_autocommit(True)
        connection.prepare_threshold = None  # plan each call for its own values, since ranges differ much
        return connection

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server; a cancelled wait closes the connection, even if the server hangs.

        The library itself would wait ten seconds for such a server.
        """
        try:
            return await wait_async(gen, self.pgconn.socket, *args, **{"interval": WAKE_S} | kwargs)
        except asyncio.CancelledError:
            try:
                with suppress(psycopg.Error):
                    await self.cancel_safe(timeout=CANCEL_S)
            finally:
                self.pgconn.finish()
            raise


class Pool:
    """Connections that are opened when needed, and reused.

    Parameters
    ----------
    url
        libpq URL of the database.
    size_min, size_max
        How many connections stay open when idle, and how many there may be.
    wait_s
        How long a call waits for a connection while all are in use, seconds.
    """

    def __init__(self, url: str, *, size_min: int = 0, size_max: int = 1, wait_s: float = 10.0) -> None:
        self._wait_s = wait_s
        self._error: Exception = StoreError("database was not asked yet")  # of the last connection that failed
        self._waits: set[asyncio.Timeout] = set()
        self._giving: set[asyncio.Task[None]] = set()  # connections back, after cancelled calls
        self._pool = AsyncConnectionPool(
            url,
            connection_class=PoolConnection,
            kwargs={"refused": self._refused},
            min_size=size_min,
            max_size=size_max,
            timeout=wait_s,
            reconnect_timeout=0,  # the next call tries to connect again
            open=False,
            name="tickline",
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close(timeout=CLOSE_S)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnection]:
        """Lend a connection, in autocommit. A caller that takes a session lock must release it.

        Raises
        ------
        ConfigError
            If the URL is not a libpq URL.
        Retryable
            If the database is away, or no connection becomes free in time.
        StoreError
            If the server refuses us, or the database refuses a statement while the connection is lent.
        """
        connection = await self._working()
        try:
            with translated():
                yield connection
        finally:
            await self._pool.putconn(connection)

    async def rows(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query of `sql/queries/`; raises as `connection` does."""
        async with self.connection() as connection:
            return await (await connection.execute(query(name), parameters)).fetchall()

    async def on_thread(self, call: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Call a blocking function with a lent connection on a thread; return its result; raises as `connection` does.

        A cancelled wait breaks the connection, so the function fails at its next statement; neither the caller nor
        the end of the process waits for it.
        """
        connection = await self._working()
        future = in_background("pool call", _call_blocking, call, connection.pgconn)
        try:
            with translated():
                return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            break_off(connection)
            raise
        finally:
            if future.done():
                await self._pool.putconn(connection)
            else:
                giving = asyncio.create_task(self._give_back_after(future, connection))
                self._giving.add(giving)
                giving.add_done_callback(self._giving.discard)

    def account(self) -> dict[str, int]:
        """Return the number of connections and its limit, and how many are idle and how many calls wait."""
        stats = self._pool.get_stats()
        return {
            "size": stats["pool_size"],
            "size_max": stats["pool_max"],
            "idle": stats["pool_available"],
            "waiting": stats["requests_waiting"],
        }

    async def _working(self) -> PoolConnection:
        """Return a connection; discard idle ones that the server has closed, without asking the server."""
        for _ in range(self._pool.max_size):
            connection = await self._taken()
            if not _has_ended(connection):
                return connection
            await connection.close()
            await self._pool.putconn(connection)
        return await self._taken()

    async def _give_back_after(self, future: Future[Any], connection: PoolConnection) -> None:
        """Give a connection back when its thread no longer uses it: closed earlier, it would be freed memory."""
        left = asyncio.wrap_future(future)
        left.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({left})
        await self._pool.putconn(connection)

    async def _taken(self) -> PoolConnection:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(None) as wait:
                self._waits.add(wait)
                cancelled_before = task.cancelling()
                connection = await self._pool.getconn()
                # Before Python 3.12, `asyncio.wait_for` in the library forgets a cancellation that comes together with
                # the connection: the task would go on, and a stop would wait for it.
                if task.cancelling() > cancelled_before:
                    await self._pool.putconn(connection)
                    raise asyncio.CancelledError
                return connection
        except TimeoutError:
            raise self._error from None
        except PoolTimeout:
            raise Retryable(
                f"no database connection was free within {self._wait_s:g} s, of {self._pool.max_size}: "
                "set TICKLINE_POOL_MAX higher, or see `tickline db status`"
            ) from None
        except PoolClosed:
            raise StoreError("database pool is closed: the program is stopping") from None
        finally:
            self._waits.discard(wait)

    def _refused(self, error: Exception) -> None:
        """End all waits with the error of a failed connection; the library would let them wait."""
        self._error = error
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0.0)


def run_with_pool(url: str, work: Callable[[Pool], Awaitable[T]]) -> T:
    """Run a coroutine function with a pool of one connection and return its result, for commands without a loop."""

    async def run() -> T:
        async with Pool(url) as pool:
            return await work(pool)

    return asyncio.run(run())


def _opened(url: str) -> psycopg.pq.abc.PGconn:
    """Return the libpq connection of a connection opened and pinned like all ours."""
    with translated():
        connection = connect(url, application_name="tickline pool", **NOTICE_A_DEAD_PEER)
    opened = connection.pgconn
    del connection.pgconn  # so that the object does not close it
    return opened


def _call_blocking(call: Callable[[psycopg.Connection[Any]], T], opened: psycopg.pq.abc.PGconn) -> T:
    """Call a function with a blocking form of an open connection, which stays open."""
    connection = psycopg.Connection(opened)
    connection.autocommit = True
    connection.prepare_threshold = None
    try:
        return call(connection)
    finally:
        del connection.pgconn  # otherwise it warns that it was not closed


def _has_ended(connection: PoolConnection) -> bool:
    """Return whether the server has closed an idle connection, or sent something unrequested."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
