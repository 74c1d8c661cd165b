"""What a session must be like: the settings that this program relies on, and that it is one session at all.

Owns the one statement that pins these settings after connecting, for every library that connects. What a server, a
role, a database or the environment (`PGDATESTYLE`, `PGTZ`, `PGOPTIONS`) says of them is overruled; a pooler that
refuses settings in the greeting takes a statement. Must not know who connects, nor what for.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import psycopg
from psycopg.rows import tuple_row

# Not pinned, because who sets it means it: default_transaction_read_only.
PINS = {
    "client_encoding": "UTF8",  # names of instruments, and asyncpg speaks nothing else
    "datestyle": "ISO, MDY",  # psycopg reads times in this form only
    "intervalstyle": "postgres",  # the same
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",  # a price comes back as it was written
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",  # a lock that was waited for shows what it was held for
    "default_transaction_deferrable": "off",
}
# A role's limit is meant for people: a refresh or a replay takes minutes. One in the URL's own options is meant for us.
TIME_LIMITS = {  # setting -> since which major version
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 14,
    "transaction_timeout": 17,
}
# Our relations, and the functions of TimescaleDB where a server keeps its extensions elsewhere.
SEARCH_PATH = """'public' || coalesce((
    select ', ' || pg_catalog.quote_ident(space.nspname)
    from pg_catalog.pg_extension as extension
    join pg_catalog.pg_namespace as space on space.oid = extension.extnamespace
    where extension.extname = 'timescaledb' and space.nspname <> 'public'
), '')"""
PROBE_IDLE = "1ms"
PROBE_SET = f"select pg_catalog.pg_backend_pid(), pg_catalog.set_config('idle_session_timeout', '{PROBE_IDLE}', false)"
PROBE = "select pg_catalog.pg_backend_pid(), pg_catalog.current_setting('idle_session_timeout')"
PROBE_WAITS_S = (0.1, 1.0, 5.0)  # a session is ended within milliseconds, on a machine that is not busy


def pin_statement(server_version: int, options: str) -> str:
    """Return the statement that pins the settings of a session; its last column is the server process's id.

    Parameters
    ----------
    server_version
        As libpq gives it: 160004 is 16.4.
    options
        The command-line options that the session was opened with, of the URL or of `PGOPTIONS`. A time limit that is
        set there stays.
    """
    given = options_named(options)
    limits = [name for name, since in TIME_LIMITS.items() if server_version >= since * 10_000 and name not in given]
    values = {name: f"'{value}'" for name, value in PINS.items()} | dict.fromkeys(limits, "'0'")
    values["search_path"] = SEARCH_PATH
    pins = ",\n".join(f"pg_catalog.set_config('{name}', {value}, false)" for name, value in values.items())
    return f"select\n{pins},\npg_catalog.pg_backend_pid()"


def options_named(options: str) -> set[str]:
    """Return the settings that command-line options name.

    Examples
    --------
    >>> sorted(options_named("-c statement_timeout=5s --lock-timeout=1s -cwork_mem=5MB"))
    ['lock_timeout', 'statement_timeout', 'work_mem']
    """
    return {name.replace("-", "_").lower() for name in re.findall(r"(?:-c\\?\s*|--)([\w.-]+)=", options)}


def pin(connection: psycopg.Connection[Any]) -> bool:
    """Pin the settings of a session that is in no transaction; tell whether a pooler is in between.

    The process that a pooler names in its greeting is not the one that answers.
    """
    info = connection.info
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    row = cursor.execute(pin_statement(info.server_version, info.options).encode()).fetchone()
    assert row is not None
    return bool(row[-1] != info.backend_pid)


def is_kept(connect: Callable[[], psycopg.Connection[Any]]) -> bool:
    """Tell whether a pooler keeps a session for its client, or gives each transaction another one.

    A session of the server is told to end when it is idle. If it is the client's own, the idle client is
    disconnected; otherwise the next transaction is answered by another, or by one that has forgotten its settings.
    Both are certain, whoever else uses the pooler.

    Parameters
    ----------
    connect
        Opens an autocommit connection, which is used up.
    """
    for wait_s in PROBE_WAITS_S:
        with closing(connect()) as connection:
            first = connection.execute(PROBE_SET).fetchone()
            if select.select([connection.fileno()], [], [], wait_s)[0]:
                return True
            # An error says nothing: a question can meet any session while it ends. So it is asked again.
            with suppress(psycopg.OperationalError):
                if connection.execute(PROBE).fetchone() != first:
                    return False
    return False
