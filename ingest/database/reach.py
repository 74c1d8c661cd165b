"""Connect to a server: parse its URL, wait while it starts, and get a session of our own.

Owns the attempts and their error texts. Must not know what the database is for.
"""

from __future__ import annotations

import re
import time
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Ping

from ingest.database import sessions
from ingest.database.embedded import revive
from ingest.database.translation import first_line, translated
from ingest.errors import ConfigError, Retryable, StoreError

CONNECT_SECONDS_MAX = 10
STARTING_POLL_S = 0.1
STARTING_SECONDS_MAX = 30.0  # for a server that reports that it is starting; a long recovery is tried again
NO_URL = (
    "setting {} is not a libpq URL: write it as 'postgresql://user:password@host:5432/database', "
    "in a password '%40' for '@' and '%2F' for '/'"
)

_keeping_poolers: set[str] = set()  # URLs of poolers known to keep a session; checking costs a session


def pinned_session(url: str, parameters: dict[str, Any], known: dict[str, Any]) -> psycopg.Connection[tuple[Any, ...]]:
    """Open an autocommit connection with a session of its own and our settings.

    Raises
    ------
    StoreError
        If that fails; also if a pooler gives each transaction another session.
    """
    while True:
        connection = reached(url, parameters | {"autocommit": True}, known)
        try:
            with translated():
                is_pooled = sessions.pin(connection)
        except StoreError:
            connection.close()
            raise
        if not is_pooled or url in _keeping_poolers:
            return connection
        connection.close()  # the pool may have only one for us
        if not sessions.is_kept(lambda: reached(url, parameters | {"autocommit": True}, known)):
            raise StoreError(
                f"database at {place_of(known)!r} is behind a pooler that gives each transaction another session: "
                "locks and settings would not hold: name the server's own port in TICKLINE_DATABASE_URL, or set "
                "pool_mode=session"
            )
        _keeping_poolers.add(url)


def reached(url: str, parameters: dict[str, Any], known: dict[str, Any]) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection, waiting for a server that is starting or stopping."""
    try:
        return psycopg.connect(url, **parameters)
    except psycopg.Error as exc:
        answer = _answer_behind(exc, url)
        is_revived = answer == Ping.NO_RESPONSE and revive(str(known.get("host")))
        if answer != Ping.OK and not is_revived:
            raise _connect_error(exc, answer, known) from exc
    # It may have come up in the meantime.
    try:
        return psycopg.connect(url, **parameters)
    except psycopg.Error as exc:
        raise _connect_error(exc, _answer_behind(exc, url), known) from exc


def parts_of(url: str, setting: str = "TICKLINE_DATABASE_URL") -> dict[str, Any]:
    """Return the parameters in the URL of a setting; raise `ConfigError` if it is not one."""
    try:
        known: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The library's error text repeats the URL, which may hold a password; a traceback would show it.
        raise ConfigError(NO_URL.format(setting)) from None
    if _is_misread(url, known):
        raise ConfigError(NO_URL.format(setting))
    return known


def _is_misread(url: str, known: dict[str, Any]) -> bool:
    """Return whether part of a password was parsed as host, port or database: later errors would show it."""
    host, port, dbname = (str(known.get(word) or "") for word in ("host", "port", "dbname"))
    is_cut = "@" in host[1:] or ("@" in dbname and "%40" not in url)  # a host that begins with @ is an abstract socket
    return "://" in url and (is_cut or re.fullmatch(r"[\d,]*", port) is None)


def _answer_behind(error: psycopg.Error, url: str) -> Ping:
    """Return the state of a server that refused a connection.

    A server that did not answer is not pinged: libpq's ping would block every thread of this process.
    """
    return Ping.NO_RESPONSE if isinstance(error, psycopg.errors.ConnectionTimeout) else _await_start(url)


def _await_start(url: str) -> Ping:
    """Ping a server, without a password, for as long as it reports that it is starting or stopping."""
    conninfo = make_conninfo(url, connect_timeout=3).encode()
    deadline = time.monotonic() + STARTING_SECONDS_MAX
    while (answer := psycopg.pq.PGconn.ping(conninfo)) == Ping.REJECT and time.monotonic() < deadline:
        time.sleep(STARTING_POLL_S)
    return Ping(answer)


def _connect_error(exc: psycopg.Error, answer: Ping, known: dict[str, Any]) -> StoreError:
    """Return an error that names the server that could not be used, never the password.

    A failed connection has no SQLSTATE. A server that answers a ping has refused this user or
    database, and will continue to.
    """
    place = place_of(known)
    if answer == Ping.OK:
        return StoreError(
            f"database at {place!r} refused the connection: {first_line(exc)}: correct TICKLINE_DATABASE_URL"
        )
    if answer == Ping.REJECT:
        return Retryable(f"database at {place!r} is starting or stopping: {first_line(exc)}: wait until it is up")
    return Retryable(
        f"database at {place!r} cannot be reached: {first_line(exc)}: start it, or correct TICKLINE_DATABASE_URL"
    )


def place_of(known: dict[str, Any]) -> str:
    """Return the target of a URL, without user and password."""
    return f"{known.get('host') or known.get('hostaddr') or 'localhost'}:{known.get('port') or 5432}"
