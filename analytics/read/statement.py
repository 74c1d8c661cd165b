"""Run one statement of a user so that it can only read.

Owns the limits of `tickline sql`. There are four:
the statement goes through the extended protocol, so there is only one; it must return columns, so
`commit`, `set`, `do` and `copy` are refused before they run; its transaction is read only, which cannot
be changed because a query has already run in it; and functions that it calls have only the rights of the
user. On the embedded server that is a role that may only read, on another server the user of the URL. A superuser
reads as another role, but a statement can leave that role on purpose, so a warning is logged.
Must not know the relations.
"""

from __future__ import annotations

import itertools
import logging
from typing import Any

import polars as pl
import psycopg
from psycopg import pq
from psycopg.types.string import TextLoader

from ingest.database.connections import Database, connect, translate
from ingest.database.translation import GRANT
from ingest.errors import ConfigError, StoreError, lower_first

log = logging.getLogger(__name__)

BATCH_ROWS = 50_000  # rows are Python objects until a batch of them is columns: 100 MB of 28 columns
FETCH_ROWS = 1_000  # rows per chunk from libpq; more gains nothing
PREPARED = b"tickline_statement"
READS = "`tickline sql` only reads: write a select; --output FILE writes the result to a file"
EXECUTE = "execute tickline_statement"

_DTYPES: dict[str, pl.DataType] = {
    "bool": pl.Boolean(),
    "int2": pl.Int16(),
    "int4": pl.Int32(),
    "int8": pl.Int64(),
    "oid": pl.UInt32(),
    "float4": pl.Float32(),
    "float8": pl.Float64(),
}
# Times are in the session's UTC; times before year 1, after year 9999 or infinite have other forms.
_TIMES: dict[str, tuple[pl.Date | pl.Datetime, str]] = {
    "date": (pl.Date(), "%Y-%m-%d"),
    "timestamp": (pl.Datetime("us"), "%Y-%m-%d %H:%M:%S%.f"),
    "timestamptz": (pl.Datetime("us", "UTC"), "%Y-%m-%d %H:%M:%S%.f%#z"),
}


def select(statement: str, database: Database) -> pl.DataFrame:
    """Return the result of a read-only statement.

    Returns
    -------
    polars.DataFrame
        The statement's columns in its order; a repeated name gets `_2`. Integers, floats and
        booleans keep their type; `numeric` is Int64 if all values are whole, otherwise Float64; dates
        and times, in UTC, keep their type if all values are in the years 1 to 9999. Everything else is text
        as PostgreSQL writes it.

    Raises
    ------
    ConfigError
        If there is no statement, more than one, or it returns no columns.
    StoreError
        If the database refuses it: one line with its message and the place in the statement.
    """
    if not statement.strip():
        raise ConfigError('no statement is given: write it as tickline sql "select ..."')
    if "\0" in statement:  # where libpq would end it
        raise ConfigError(f"statement {_first_words(statement)!r} contains a NUL: remove it")
    connection = connect(database.reader_url)
    try:
        connection.read_only = True
        # A query, so that the transaction has its snapshot and `set transaction read write` comes too late.
        connection.execute("select set_config('default_transaction_read_only', 'on', false)")
        if connection.info.parameter_status("is_superuser") == "on":
            log.warning(
                "user %r is a superuser: the functions of a statement may do all; to read, give "
                "TICKLINE_DATABASE_URL a login that only reads",
                connection.info.user,
            )
            connection.execute("set local role pg_read_all_data")
        return _run(connection, _prepare(connection, statement))
    except psycopg.errors.InsufficientPrivilege as exc:
        user = connection.info.user
        remedy = GRANT.format(repr(user)) if database.server is None else READS
        raise StoreError(
            f"user {user!r} may not do this: {_message(exc)} (sqlstate {exc.sqlstate!r}): {remedy}"
        ) from exc
    except psycopg.Error as exc:
        raise _refused(exc, statement) from exc
    finally:
        connection.close()


def _prepare(connection: psycopg.Connection[Any], statement: str) -> dict[str, int]:
    """Let the server parse the single statement without running it; return its columns' type oids."""
    server = connection.pgconn
    result = server.prepare(PREPARED, statement.encode())
    if result.status != pq.ExecStatus.COMMAND_OK:
        error = psycopg.errors.error_from_result(result, encoding=connection.info.encoding)
        if error.sqlstate == "42601" and not error.diag.statement_position:  # an error of syntax has a place
            raise ConfigError(f"there is more than one statement in {_first_words(statement)!r}: give one at a time")
        raise error
    described = server.describe_prepared(PREPARED)
    if described.nparams:
        raise ConfigError(f"statement {_first_words(statement)!r} has placeholders such as $1: write the values")
    columns: dict[str, int] = {}
    for index in range(described.nfields):
        name = (described.fname(index) or b"").decode()
        spellings = itertools.chain([name], (f"{name}_{copy}" for copy in itertools.count(2)))
        columns[next(one for one in spellings if one not in columns)] = described.ftype(index)
    if not columns:
        raise ConfigError(f"statement {_first_words(statement)!r} returns no columns: {READS}")
    return columns


def _run(connection: psycopg.Connection[Any], columns: dict[str, int]) -> pl.DataFrame:
    """Run the prepared statement; return its rows as columns, combined batch by batch."""
    known_types = connection.adapters.types  # an array's oid leads to its element's type, which it is not
    type_names = {oid: known.name for oid in columns.values() if (known := known_types.get(oid)) and known.oid == oid}
    dtypes = {name: _DTYPES.get(type_names.get(oid, ""), pl.String()) for name, oid in columns.items()}
    named = {name: type_names.get(oid, "") for name, oid in columns.items()}
    with connection.cursor() as cursor:
        for oid in columns.values():
            if type_names.get(oid) not in _DTYPES:
                cursor.adapters.register_loader(oid, TextLoader)
        rows = cursor.stream(EXECUTE, size=FETCH_ROWS)
        frames = [pl.DataFrame(schema=dtypes)]
        while batch := list(itertools.islice(rows, BATCH_ROWS)):
            frames.append(pl.DataFrame(batch, schema=dtypes, orient="row"))
    frame = pl.concat(frames)
    return frame.with_columns(
        _number(frame[name]) if kind == "numeric" else _time(frame[name], kind)
        for name, kind in named.items()
        if kind == "numeric" or kind in _TIMES
    )


def _number(texts: pl.Series) -> pl.Series:
    """Return `numeric` values as Int64 if all are whole and small enough, otherwise as Float64."""
    whole = texts.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == texts.null_count() else texts.cast(pl.Float64)


def _time(texts: pl.Series, kind: str) -> pl.Series:
    """Return dates or times with their type, or as text if one is beyond the calendar."""
    dtype, form = _TIMES[kind]
    times = texts.str.strptime(dtype, form, strict=False)
    return times if times.null_count() == texts.null_count() else texts


def _refused(exc: psycopg.Error, statement: str) -> StoreError:
    """Return an error with the database's objection and its position, on one line."""
    if exc.sqlstate == "25006":
        return StoreError(f"statement {_first_words(statement)!r} would write: {READS}")
    if not (exc.sqlstate or "").startswith(("22", "25", "26", "42", "54")):
        return translate(exc)
    place = ""
    if exc.diag.statement_position:
        before = statement[: int(exc.diag.statement_position) - 1]
        place = f" at line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
    return StoreError(
        f"statement refused{place}: {_message(exc)} (sqlstate {exc.sqlstate!r}): correct it and run it again"
    )


def _message(exc: psycopg.Error) -> str:
    """Return the server's message without a period."""
    return lower_first((exc.diag.message_primary or str(exc)).strip().rstrip("."))


def _first_words(statement: str) -> str:
    """Return the beginning of a statement, for error texts."""
    return " ".join(statement.split())[:40]
