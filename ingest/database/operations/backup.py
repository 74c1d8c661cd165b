"""Back a database up to a file, and restore it: `tickline db backup` and `restore`.

Owns the order of the steps round `pg_dump` and `pg_restore`, and what makes a file and a database fit each other. A
backup is one snapshot: ticks, ledger and checkpoints agree, so the journal commits what came after it. Must not know
the relations' rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from ingest.database.connections import (
    HEAD,
    UPGRADE,
    UPGRADE_LOCK,
    Database,
    check_engine,
    check_newer,
    connect,
    recorded_engine,
    revision,
    translated,
)
from ingest.database.operations import programs
from ingest.database.queries import query
from ingest.database.server import roles
from ingest.database.settings import Engine
from ingest.database.upgrade import found_timescaledb
from ingest.errors import ConfigError, SchemaError, StoreError
from ingest.files import replaced

MAGIC = b"PGDMP"  # of pg_dump's custom format
# pg_restore from 17 on sets transaction_timeout, which an older server refuses.
SAME_VERSION_BELOW = 17
Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds; and, restored, whether the server has roles that have no rights to it yet."""

    engine: Engine
    revision: str
    timescaledb_version: str | None
    lacks_rights: bool = False


def backup(database: Database, file: Path, *, show: Show = lambda _: None) -> int:
    """Write a database to a file, as one snapshot; recording may go on. Return the file's size, bytes.

    The file appears complete or not at all, and replaces an older one.

    Parameters
    ----------
    show
        Called with what is being written.

    Raises
    ------
    SchemaError
        If the database has no schema.
    ConfigError
        If there is no `pg_dump` for the server, or the file cannot be written.
    StoreError
        If it fails.
    """
    with translated(), connect(database.superuser_url) as connection:
        if revision(connection) is None:
            raise SchemaError(f"database {connection.info.dbname!r} has no tickline schema: nothing to back up")
        program = programs.find("pg_dump", connection.info.server_version // 10_000)
    try:
        with replaced(file.absolute()) as beside:
            beside.touch(0o600)  # it holds everything
            # TimescaleDB keeps rows in chunks and says so of each table: that is no warning.
            programs.run(
                program,
                database.superuser_url,
                "--format=custom",
                "--verbose",
                f"--file={beside}",
                said=lambda line: _show_table(line, "dumping contents of table", show),
                file=file,
            )
            with beside.open("rb") as written:
                os.fsync(written.fileno())
    except OSError as exc:
        raise ConfigError(f"file {str(file)!r} cannot be written: {exc.strerror}: name another file") from exc
    return file.stat().st_size


def restore(database: Database, file: Path, *, show: Show = lambda _: None) -> Backup:
    """Restore a backup into an empty database, in one transaction; a failure leaves it empty.

    Parameters
    ----------
    database
        An open database; of a URL, its user must be a superuser for TimescaleDB, whose catalog is restored too.
    show
        Called with what is being restored.

    Raises
    ------
    ConfigError
        If the file is no backup of ours, the database is not empty, or the engines or versions do not fit.
    SchemaError
        If a newer program has made the backup.
    StoreError
        If it fails.
    """
    with translated(), connect(database.superuser_url, autocommit=True) as connection:
        major = connection.info.server_version // 10_000
        program = programs.find("pg_restore", major, exact_below=SAME_VERSION_BELOW)
        found = content(program, file)
        check_newer(found.revision)
        check_engine(found.engine, database.wanted_engine)
        connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (UPGRADE_LOCK,))
        _check_empty(connection)
        with _restoring(connection, found):
            programs.run(
                program,
                database.superuser_url,
                "--single-transaction",
                "--exit-on-error",
                "--no-owner",
                "--no-privileges",
                "--verbose",
                str(file),
                said=lambda line: _show_table(line, "processing data for table", show),
                file=file,
            )
        if database.server is not None:
            roles.give(connection)
        show("statistics for the planner")
        connection.execute("analyze")
        if recorded_engine(connection) != found.engine:
            raise StoreError(f"backup {str(file)!r} was not restored as a whole: restore it into an empty database")
        return replace(found, lacks_rights=database.server is None and roles.are_there(connection))


def content(program: Path, file: Path) -> Backup:
    """Return what a file holds, without a database.

    Raises
    ------
    ConfigError
        If it is absent, or no backup of this program.
    """
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(MAGIC))
    except OSError as exc:
        raise ConfigError(f"file {str(file)!r} cannot be read: {exc.strerror}: name a backup") from exc
    if magic != MAGIC:
        raise ConfigError(f"file {str(file)!r} is no backup in PostgreSQL's custom format: use `tickline db backup`")
    rows = {
        table: next(_rows_of(program, file, schema, table), None)
        for schema, table in (("tickline", "installation"), ("tickline", "alembic_version"))
    }
    installation, version = rows["installation"], rows["alembic_version"]
    if installation is None or version is None or installation[1] not in ("timescale", "postgres"):
        raise ConfigError(f"file {str(file)!r} holds no tickline database: use a file of `tickline db backup`")
    metadata = dict(row[:2] for row in _rows_of(program, file, "_timescaledb_catalog", "metadata"))
    return Backup(
        "timescale" if installation[1] == "timescale" else "postgres", version[0], metadata.get("timescaledb_version")
    )


def _rows_of(program: Path, file: Path, schema: str, table: str) -> Iterator[list[str]]:
    """Yield the rows of a small table in a backup, as text."""
    lines = programs.output(
        program, None, "--data-only", f"--schema={schema}", f"--table={table}", "--file=-", str(file), file=file
    )
    is_row = False
    for line in lines:
        if line == "\\.":
            is_row = False
        elif is_row:
            yield line.split("\t")
        elif line.startswith("COPY "):
            is_row = True


def _check_empty(connection: psycopg.Connection[Any]) -> None:
    """Refuse a database that holds anything."""
    row = connection.execute(query("status/first_relation")).fetchone()
    if row is not None:
        raise ConfigError(
            f"database {connection.info.dbname!r} is not empty, it has {row[0]!r}: restore into a new one: name it in "
            "TICKLINE_DATABASE_URL, or set TICKLINE_HOME to a new folder"
        )


@contextmanager
def _restoring(connection: psycopg.Connection[Any], found: Backup) -> Iterator[None]:
    """Let TimescaleDB accept its own tables from a backup, while the block runs."""
    if found.engine == "postgres":
        yield
        return
    server = found_timescaledb(connection)
    if server["default_version"] is None or not server["loaded"]:
        raise ConfigError(
            "backup is of TimescaleDB, which this server does not load: install it and name it in "
            "shared_preload_libraries"
        )
    row = connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone()
    if row != (True,):
        raise ConfigError(
            f"user {connection.info.user!r} is no superuser, and the catalog of TimescaleDB is restored too: name one "
            "in TICKLINE_DATABASE_URL for the restore; then `tickline db upgrade --with-roles` gives all to its owner"
        )
    wanted = found.timescaledb_version
    if server["installed_version"] not in (None, wanted):
        connection.execute("drop extension timescaledb")
        server["installed_version"] = None
    if server["installed_version"] is None:
        try:
            connection.execute(f"create extension timescaledb version '{wanted}'".encode())
        except psycopg.Error as exc:
            raise ConfigError(
                f"backup is of TimescaleDB {wanted!r}, and the server cannot create that version (it has "
                f"{server['default_version']!r}): restore on a server with that version; {UPGRADE} with a newer one"
            ) from exc
    connection.execute("select timescaledb_pre_restore()")
    try:
        yield
    finally:
        connection.execute("select timescaledb_post_restore()")


def _show_table(line: str, what: str, show: Show) -> None:
    """Show the table of a line of a program, if it names one."""
    _, found, table = line.partition(what)
    if found:
        show(table.strip().strip('"'))


def is_older(found: Backup) -> bool:
    """Tell whether the schema of a backup must be upgraded."""
    return found.revision < HEAD
