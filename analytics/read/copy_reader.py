"""Read query results as columns, by binary COPY: the only way to read many rows from the database.

Owns the connections, their thread, and the wire form of a row. All rows of a result have the same width, because the
server sends a stand-in for null: so NumPy extracts a column from a megabyte of rows at once, and no row is handled
individually. Must not know what is read.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import wait
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import asyncpg
import numpy as np
import polars as pl
import psycopg

from analytics.read.copy_way import Way
from ingest.database.connections import connect, translate
from ingest.errors import StoreError

T = TypeVar("T")
HEADER_BYTES, TRAILER = 19, b"\xff\xff"  # around the rows of a binary COPY
INTERRUPT_S = 0.2  # longest delay of Ctrl-C
WRONG_WIDTH = "result of a query has rows of another width than its columns have"
CLOSE_S = 2.0  # then a server that ignores our request to stop is abandoned
BATCH_BYTES = 2**20  # rows whose columns are extracted at once: they stay in the processor's cache
# From Polars' epoch to PostgreSQL's.
_EPOCH_US = (datetime(2000, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
_EPOCH_DAYS = (date(2000, 1, 1) - date(1970, 1, 1)).days


class _Kind(NamedTuple):
    """How a type is selected, sent and converted."""

    select: str  # for a column {0}, with a stand-in for null
    sent: str  # NumPy dtype
    null: int | None  # the stand-in; None: not a number
    since: int  # added to the value
    becomes: pl.DataType

    @property
    def native(self) -> str:
        """The dtype in this machine's byte order."""
        return self.sent.replace(">", "=")

    def is_null(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return which values stand for null."""
        found: np.ndarray[Any, Any] = np.isnan(values) if self.null is None else values == self.null
        return found


_KINDS = {
    "bool": _Kind("coalesce({0}::int4, -1)", ">i4", -1, 0, pl.Boolean()),
    "int2": _Kind("coalesce({0}, '-32768')", ">i2", -(2**15), 0, pl.Int16()),
    "int4": _Kind("coalesce({0}, '-2147483648')", ">i4", -(2**31), 0, pl.Int32()),
    "int8": _Kind("coalesce({0}, '-9223372036854775808')", ">i8", -(2**63), 0, pl.Int64()),
    "float8": _Kind("coalesce({0}, 'NaN')", ">f8", None, 0, pl.Float64()),
    "date": _Kind("coalesce({0}, '-infinity')", ">i4", -(2**31), _EPOCH_DAYS, pl.Date()),
    "timestamptz": _Kind("coalesce({0}, '-infinity')", ">i8", -(2**63), _EPOCH_US, pl.Datetime("us", "UTC")),
}


class Shaped(NamedTuple):
    """A query, and a name of its columns: queries of the same name have the same, so the server is asked once."""

    text: str
    shape: str


class CopyReader:
    """Connections that stay open, and a thread that reads from all of them in parallel.

    Columns may be of the types `bool`, `int2`, `int4`, `int8`, `float8`, `date` and `timestamptz`. The lowest value of
    a type, minus infinity of a time and not-a-number are read as null.

    Parameters
    ----------
    url
        A libpq URL of a reachable database.
    connections
        Number of queries that can run in parallel.

    Raises
    ------
    StoreError
        If the database cannot be reached; all methods raise it if it cannot be read.
    """

    def __init__(self, url: str, connections: int = 1) -> None:
        with connect(url) as connection:
            way = Way.of(connection)
        self._connections: list[asyncpg.Connection] = []
        self._kinds: dict[str, dict[str, _Kind]] = {}
        self._loop = way.loop()
        # A thread of its own, because a notebook already runs a loop in the caller's.
        self._thread = threading.Thread(target=self._loop.run_forever, name="copy reader", daemon=True)
        self._thread.start()
        try:
            for _ in range(connections):
                self._connections.append(self._run(way.go()))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Safe to repeat."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def read(self, texts: Sequence[Sequence[str | Shaped]]) -> list[list[pl.DataFrame]]:
        """Return the results of queries: those of one list run in sequence, the lists in parallel."""

        async def same(_: int, frames: list[pl.DataFrame]) -> list[pl.DataFrame]:
            return frames

        return self._run(self._each(texts, same))

    def make(self, texts: Sequence[Sequence[str | Shaped]], make: Callable[[int, list[pl.DataFrame]], T]) -> list[T]:
        """Return `make` of each list's index and results; while one is made, others are read."""
        return self._run(self._each(texts, lambda place, frames: asyncio.to_thread(make, place, frames)))

    async def _each(
        self,
        texts: Sequence[Sequence[str | Shaped]],
        then: Callable[[int, list[pl.DataFrame]], Coroutine[Any, Any, T]],
    ) -> list[T]:
        """Return `then` of each list's index and results."""
        free: asyncio.Queue[asyncpg.Connection] = asyncio.Queue()

        async def one(place: int, own: Sequence[str | Shaped]) -> T:
            connection = await free.get()
            try:
                frames = [await self._fetch(connection, text) for text in own]
            finally:
                free.put_nowait(connection)
            return await then(place, frames)

        for connection in self._connections:
            free.put_nowait(connection)
        return await asyncio.gather(*itertools.starmap(one, enumerate(texts)))

    async def _fetch(self, connection: asyncpg.Connection, given: str | Shaped) -> pl.DataFrame:
        text, shape = given if isinstance(given, Shaped) else (given, None)
        kinds = self._kinds.get(shape) if shape else None
        if kinds is None:
            kinds = await _kinds_of(connection, text)
            if shape:
                self._kinds[shape] = kinds
        columns = _Columns(kinds)

        async def put(data: bytes) -> None:
            columns.put(data)

        await connection.copy_from_query(_wrapped(text, kinds), output=put, format="binary")
        frame = columns.frame()
        columns.end()
        return frame

    def stream(self, text: str, take: Callable[[pl.DataFrame], None], rows: int) -> None:
        """Pass the result of a query on in frames of about `rows` rows; reading waits while one is taken.

        Exceptions of `take` are raised unchanged.
        """
        refused: list[Exception] = []

        def taken(frame: pl.DataFrame) -> None:
            try:
                take(frame)
            except Exception as exc:
                refused.append(exc)
                raise

        try:
            self._run(_stream(self._connections[0], text, taken, rows))
        except StoreError:
            if refused:
                raise refused[0] from None
            raise

    async def _end(self) -> None:
        """Close the connections, each once the server knows that an interrupted query should stop."""
        await asyncio.gather(*(one.close(timeout=CLOSE_S) for one in self._connections), return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            # Polars has its own handler for Ctrl-C, after which an unlimited wait continues.
            while not future.done():
                wait([future], timeout=INTERRUPT_S)
            return future.result()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as exc:
            raise _of_asyncpg(exc) from exc
        except BaseException:
            future.cancel()
            raise


def read_frame(url: str, text: str) -> pl.DataFrame:
    """Return the result of one query; see `CopyReader`."""
    with CopyReader(url) as reader:
        return reader.read([[text]])[0][0]


def _of_asyncpg(exc: Exception) -> StoreError:
    """Convert an asyncpg error to ours, by its SQLSTATE, like `ingest.database.translation.translate`."""
    state = getattr(exc, "sqlstate", None)
    try:
        kind = psycopg.errors.lookup(state or "")
    except KeyError:
        kind = psycopg.OperationalError if state is None else psycopg.DatabaseError
    return translate(kind(str(exc).strip() or type(exc).__name__))


class _Columns:
    """The columns of a result, extracted from the data received so far."""

    def __init__(self, kinds: dict[str, _Kind]) -> None:
        self._kinds = kinds
        # A row: the number of its fields, and for each its length and value.
        fields = [[(f"bytes of {name}", ">i4"), (name, kind.sent)] for name, kind in kinds.items()]
        self._row = np.dtype([("fields", ">i2"), *itertools.chain.from_iterable(fields)])
        self._parts: list[bytes] = []
        self._waiting, self._skip = 0, HEADER_BYTES
        self._arrays: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in kinds}
        self._with_null: set[str] = set()
        self.rows = 0

    def put(self, data: bytes) -> None:
        """Add received data."""
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= BATCH_BYTES:
            self._decode()

    def frame(self) -> pl.DataFrame:
        """Return the rows since the last call."""
        self._decode()
        columns = [self._column(name, kind) for name, kind in self._kinds.items()]
        self.rows = 0
        self._with_null.clear()
        for arrays in self._arrays.values():
            arrays.clear()
        return pl.DataFrame(columns)

    def end(self) -> None:
        """Check that the result ended properly.

        Raises
        ------
        StoreError
            If it did not.
        """
        self._decode()
        if b"".join(self._parts) != TRAILER:
            raise StoreError(WRONG_WIDTH)

    def _decode(self) -> None:
        data = b"".join(self._parts)
        count = max(len(data) - self._skip, 0) // self._row.itemsize
        if count:
            rows = np.frombuffer(data, self._row, count, self._skip)
            if (rows["fields"] != len(self._kinds)).any():
                raise StoreError(WRONG_WIDTH)
            for name, kind in self._kinds.items():
                column = rows[name].astype(kind.native)
                if name not in self._with_null and kind.is_null(column).any():
                    self._with_null.add(name)
                self._arrays[name].append(column)
            data = data[self._skip + count * self._row.itemsize :]
            self._skip = 0
            self.rows += count
        elif len(data) >= self._skip:
            data, self._skip = data[self._skip :], 0
        self._parts, self._waiting = [data], len(data)

    def _column(self, name: str, kind: _Kind) -> pl.Series:
        arrays = self._arrays[name]
        values = np.concatenate(arrays) if arrays else np.empty(0, kind.native)
        column = pl.Series(name, values + kind.since if kind.since else values)
        if name in self._with_null:
            column = column.set(pl.Series(kind.is_null(values)), None)
        return column.cast(kind.becomes)


async def _kinds_of(connection: asyncpg.Connection, text: str) -> dict[str, _Kind]:
    """Return the columns of a query."""
    prepared = await connection.prepare(text)
    kinds: dict[str, _Kind] = {}
    for attribute in prepared.get_attributes():
        if attribute.type.name not in _KINDS:
            raise StoreError(
                f"column {attribute.name!r} of a query has a type that is not read: {attribute.type.name!r}"
            )
        kinds[attribute.name] = _KINDS[attribute.type.name]
    return kinds


def _wrapped(text: str, kinds: dict[str, _Kind]) -> str:
    """Return a query whose rows all have the same width."""
    select = ", ".join(kind.select.format(f'q."{name}"') for name, kind in kinds.items())
    return f"select {select} from (\n{text}\n) as q"  # noqa: S608 - of our own queries


async def _stream(connection: asyncpg.Connection, text: str, take: Callable[[pl.DataFrame], None], rows: int) -> None:
    kinds = await _kinds_of(connection, text)
    columns = _Columns(kinds)

    async def put(data: bytes) -> None:
        columns.put(data)
        if columns.rows >= rows:
            take(columns.frame())

    await connection.copy_from_query(_wrapped(text, kinds), output=put, format="binary")
    if (last := columns.frame()).height:
        take(last)
    columns.end()
