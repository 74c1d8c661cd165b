"""Requirements on a session: the settings this program relies on, and that it really is one session.

Owns the single statement that pins these settings after connecting, for every library that connects. It overrides
the server, role, database and environment (`PGDATESTYLE`, `PGTZ`, `PGOPTIONS`); a pooler that refuses settings at
connection start accepts a statement. Must not know who connects, nor why.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import psycopg
from psycopg.rows import tuple_row

# default_transaction_read_only is not pinned, because it is set on purpose.
PINS = {
    "client_encoding": "UTF8",  # for instrument names; asyncpg supports nothing else
    "datestyle": "ISO, MDY",  # the only form in which psycopg reads times
    "intervalstyle": "postgres",  # likewise
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",  # prices come back exactly as written
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",  # after waiting for a lock, we see what its holder committed
    "default_transaction_deferrable": "off",
}
# TimescaleDB refuses to change more converted rows in a transaction than this; 0: any number. Bars of a minute of all
# instruments touch as many batches. Elsewhere the setting means nothing.
CONVERTED_ROWS = {"timescaledb.max_tuples_decompressed_per_dml_transaction": "0"}
# A role's limit is meant for people: a refresh or a replay takes minutes. A limit in the URL's options is for us.
TIME_LIMITS = {  # setting -> since which major version
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 14,
    "transaction_timeout": 17,
}
# Our relations, and the functions of TimescaleDB if a server keeps its extensions in another schema.
SEARCH_PATH = """'public' || coalesce((
    select ', ' || pg_catalog.quote_ident(space.nspname)
    from pg_catalog.pg_extension as extension
    join pg_catalog.pg_namespace as space on space.oid = extension.extnamespace
    where extension.extname = 'timescaledb' and space.nspname <> 'public'
), '')"""
PROBE_IDLE = "200ms"  # longer than a pooler takes to part a session from its client: then the client is cut off too
PROBE_SET = f"select pg_catalog.pg_backend_pid(), pg_catalog.set_config('idle_session_timeout', '{PROBE_IDLE}', false)"
PROBE = "select pg_catalog.pg_backend_pid(), pg_catalog.current_setting('idle_session_timeout')"
PROBE_WAITS_S = (0.5, 2.0, 6.0)  # a session ends within milliseconds of the limit on an idle machine
PROBES = 2  # that agree: on a busy machine a pooler may still have cut the client off with the session


def pin_statement(server_version: int, options: str) -> str:
    """Return the statement that pins the settings of a session; its last column is the server process's id.

    Parameters
    ----------
    server_version
        As given by libpq: 160004 is 16.4.
    options
        The command-line options that the session was opened with, from the URL or `PGOPTIONS`. A time limit set
        there is kept.
    """
    given = options_named(options)
    limits = [name for name, since in TIME_LIMITS.items() if server_version >= since * 10_000 and name not in given]
    pinned = PINS | CONVERTED_ROWS | dict.fromkeys(limits, "0")
    values = {name: f"'{value}'" for name, value in pinned.items()}
    values["search_path"] = SEARCH_PATH
    pins = ",\n".join(f"pg_catalog.set_config('{name}', {value}, false)" for name, value in values.items())
    return f"select\n{pins},\npg_catalog.pg_backend_pid()"


def options_named(options: str) -> set[str]:
    """Return the names of the settings in command-line options.

    Examples
    --------
    >>> sorted(options_named("-c statement_timeout=5s --lock-timeout=1s -cwork_mem=5MB"))
    ['lock_timeout', 'statement_timeout', 'work_mem']
    """
    return {name.replace("-", "_").lower() for name in re.findall(r"(?:-c\\?\s*|--)([\w.-]+)=", options)}


def pin(connection: psycopg.Connection[Any]) -> bool:
    """Pin the settings of a session outside any transaction; return whether a pooler is in between.

    With a pooler, the process named at connection start is not the one that answers.
    """
    info = connection.info
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    row = cursor.execute(pin_statement(info.server_version, info.options).encode()).fetchone()
    assert row is not None
    return bool(row[-1] != info.backend_pid)


def is_kept(connect: Callable[[], psycopg.Connection[Any]]) -> bool:
    """Return whether a pooler keeps a session for its client, or gives each transaction another one.

    A server session is told to end when idle. If it belongs to the client alone, the idle client is
    disconnected; otherwise another session answers the next transaction, or one that has forgotten its settings.
    The result is reliable, whoever else uses the pooler.

    Parameters
    ----------
    connect
        Opens an autocommit connection, which is used up.
    """
    return all(_ends_with_its_session(connect) for _ in range(PROBES))


def _ends_with_its_session(connect: Callable[[], psycopg.Connection[Any]]) -> bool:
    """Return whether a client is disconnected when its idle session ends."""
    for wait_s in PROBE_WAITS_S:
        with closing(connect()) as connection:
            first = connection.execute(PROBE_SET).fetchone()
            if select.select([connection.fileno()], [], [], wait_s)[0]:
                return True
            # An error proves nothing: any query can meet a session that is ending. So it is tried again.
            with suppress(psycopg.OperationalError):
                if connection.execute(PROBE).fetchone() != first:
                    return False
    return False
