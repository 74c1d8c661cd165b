"""Run the same few statements again and again with little work: prepared once, sent together, one wait for all answers.

The writer commits hundreds of times a second. Through cursors and pipelines of the driver each statement takes a dozen
steps and a wait of its own: a commit of three ticks took 0.6 ms of CPU in this process, and through libpq's own
functions (`psycopg.pq`) it takes 0.1. Parameters are bound as elsewhere, as text whose type the server takes from the
statement. Other statements may use the same connection between two calls. Not thread-safe. Must not know the relations.
"""

from __future__ import annotations

import os
import re
import select
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from ingest.database.connections import break_off

# A larger part would make libpq's own buffer grow, which it keeps.
COPY_PART_BYTES_MAX = 2**17
SEND_BYTES = 2**22  # a whole batch, if the system allows it

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")

Connection = psycopg.Connection[Any]


class PreparedStatements:
    """The statements that one connection runs often.

    Parameters
    ----------
    connection
        In autocommit mode, outside a pipeline.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names: dict[str, bytes] = {}  # statement -> its name on the server
        self._made = 0

    def run(self, *calls: tuple[str, Mapping[str, Any]]) -> list[int]:
        """Run statements in one trip to the server; return how many rows each has changed or returned.

        Parameters
        ----------
        calls
            Statements with placeholders like `%(name)s`, and their parameters: str, int, datetime with a time zone,
            lists of datetimes, or None. They may begin or end a transaction.

        Raises
        ------
        psycopg.Error
            Of the first statement that failed; those behind it were not run.
        """
        made, is_call = dict[str, bytes](), list[bool]()
        with _libpq(self._connection) as pgconn:
            pgconn.enter_pipeline_mode()
            for statement, parameters in calls:
                text, names = _numbered(statement)
                is_call.append(True)
                if not names:  # such as begin and commit: nothing is gained by preparing them
                    pgconn.send_query_params(text, None)
                    continue
                name = self._names.get(statement) or made.get(statement)
                if name is None:
                    self._made += 1
                    name = made[statement] = b"tickline_%d" % self._made
                    pgconn.send_prepare(name, text)
                    is_call.insert(-1, False)
                pgconn.send_query_prepared(name, [_as_text(parameters[one]) for one in names])
            pgconn.pipeline_sync()
            results = list(_until_sync(pgconn))
            pgconn.exit_pipeline_mode()
        _check(results)
        self._names |= made
        return [result.command_tuples or 0 for result, called in zip(results, is_call, strict=True) if called]

    def forget(self) -> None:
        """Prepare each statement again when it next runs. Call it after a rollback: the driver then deallocates all."""
        self._names.clear()


def copy_in(connection: Connection, statement: str, parts: Iterable[bytes]) -> None:
    """Run a `COPY … FROM STDIN` with the parts of its data, all or nothing.

    Raises
    ------
    psycopg.Error
        If the server refuses the statement or a row.
    """
    with _libpq(connection) as pgconn:
        pgconn.send_query(statement.encode())
        begun = _result(pgconn)
        if begun is not None and begun.status == ExecStatus.COPY_IN:
            for part in parts:
                _put(pgconn, memoryview(part))
            pgconn.put_copy_end()
        results = [begun] if begun is not None else []
        while (result := _result(pgconn)) is not None:
            results.append(result)
    _check(results)


def widen(connection: Connection) -> None:
    """Enlarge the send buffer, so that the server does not wait for our thread to get its turn between two parts.

    Only that of a local socket: the system sizes the buffer of a remote one itself, by the network's delay.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        if end.family == socket.AF_UNIX:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)


@contextmanager
def _libpq(connection: Connection) -> Iterator[PGconn]:
    """Lend libpq's connection. After an error amid an exchange it is of no more use, and is broken off."""
    try:
        yield connection.pgconn
    except BaseException:
        break_off(connection)
        raise


def _put(pgconn: PGconn, part: memoryview) -> None:
    for begin in range(0, len(part), COPY_PART_BYTES_MAX):
        if not pgconn.put_copy_data(part[begin : begin + COPY_PART_BYTES_MAX]):
            raise MemoryError("libpq has no memory for a part of a COPY")
        _flush(pgconn)


def _flush(pgconn: PGconn) -> None:
    """Send what libpq holds; meanwhile take what the server says, which may otherwise wait for us too."""
    while pgconn.flush():
        if _wait(pgconn, select.POLLIN | select.POLLOUT) & select.POLLIN:
            pgconn.consume_input()


def _result(pgconn: PGconn) -> PGresult | None:
    """Wait for the next result; None: the statement has no more."""
    _flush(pgconn)
    while pgconn.is_busy():
        _wait(pgconn, select.POLLIN)
        pgconn.consume_input()
    return pgconn.get_result()


def _until_sync(pgconn: PGconn) -> Iterator[PGresult]:
    """Yield the results of a pipeline, each of which is followed by None."""
    while True:
        result = _result(pgconn)
        if result is None:
            if pgconn.status == ConnStatus.BAD:
                raise psycopg.OperationalError(pgconn.get_error_message())
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return
        else:
            yield result


def _wait(pgconn: PGconn, events: int) -> int:
    """Wait until the socket is ready; return for what. A closed socket is ready to be read."""
    poll = select.poll()
    poll.register(pgconn.socket, events)
    ready = poll.poll()[0][1]
    return ready if ready & (select.POLLIN | select.POLLOUT) else select.POLLIN


def _check(results: Iterable[PGresult]) -> None:
    for result in results:
        if result.status in (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE):
            raise error_from_result(result)


@lru_cache(maxsize=64)
def _numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with the placeholders of the protocol, $1, and the parameters' names in that order."""
    names = tuple(dict.fromkeys(_PLACEHOLDER.findall(statement)))
    return _PLACEHOLDER.sub(lambda found: f"${names.index(found[1]) + 1}", statement).encode(), names


def _as_text(value: str | int | datetime | list[datetime] | None) -> bytes | None:
    """Return a parameter in the server's text format."""
    match value:
        case None:
            return None
        case str():
            return value.encode()
        case datetime():
            return value.isoformat().encode()
        case list():
            return b"{" + b",".join(b'"' + one.isoformat().encode() + b'"' for one in value) + b"}"
        case _:
            return b"%d" % value
