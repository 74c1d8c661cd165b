"""Translate PostgreSQL errors to ours, by SQLSTATE.

Owns the table of codes. Must not know the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from ingest.errors import Rejected, Retryable, SchemaError, StoreError, lower_first

UPGRADE = "run `tickline db upgrade`"
GRANT = "reading needs `grant select on all tables in schema public, tickline` to {}"
# SQLSTATE, by the longest matching prefix (PostgreSQL manual, appendix A).
_CLASSES: dict[str, Callable[[str], StoreError]] = {
    "08": Retryable,  # the connection broke
    "53": Retryable,  # out of disk, memory or connections, which can become free
    "57P0": Retryable,  # the server is stopping or starting, or ended the session
    "57014": Retryable,  # a time limit ended the statement
    "40001": Retryable,  # serialization failure
    "40P01": Retryable,  # deadlock
    "55P03": Retryable,  # lock not available
    "25006": Retryable,  # read-only: a standby before its promotion
    "22": Rejected,  # a value that does not fit
    "23": Rejected,  # a constraint
    "42P01": SchemaError,  # no such table
    "42703": SchemaError,  # no such column
    "42883": SchemaError,  # no such function
    "3F000": SchemaError,  # no such schema
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise database errors as ours; also usable as a decorator."""
    try:
        yield
    except psycopg.Error as exc:
        raise translate(exc) from exc


def translate(exc: psycopg.Error) -> StoreError:
    """Convert a database error to ours, by SQLSTATE; raise the result `from exc`.

    An error without an SQLSTATE comes from the client: an `OperationalError` is a broken connection,
    anything else a bug of ours.
    """
    if exc.sqlstate is None:
        if isinstance(exc, (errors.OperationalError, errors.InterfaceError)):
            return Retryable(f"database connection lost: {first_line(exc)}: see `tickline db status`")
        return StoreError(f"answer of the database is not understood: {first_line(exc)}: see `tickline db status`")
    prefixes = sorted((prefix for prefix in _CLASSES if exc.sqlstate.startswith(prefix)), key=len)
    kind = _CLASSES[prefixes[-1]] if prefixes else StoreError
    text = f"database refused: {first_line(exc)} (sqlstate {exc.sqlstate!r})"
    if isinstance(exc, errors.InsufficientPrivilege):
        return kind(f"{text}: {GRANT.format('the user of TICKLINE_DATABASE_URL')}; only the owner of the tables writes")
    return kind(f"{text}: {UPGRADE}" if kind is SchemaError else text)


def first_line(exc: psycopg.Error) -> str:
    """Return the server's message, or the client's first line, without a trailing period."""
    text = exc.diag.message_primary or (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return lower_first(text.strip().rstrip("."))
