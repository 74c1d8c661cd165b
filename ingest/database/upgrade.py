"""Create and migrate the schema: `tickline db upgrade`.

Owns the choice of engine, the lock that allows one upgrade at a time, and running the files of a
revision. Must not know what is in them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ingest.database import queries
from ingest.database.connections import (
    UPGRADE,
    UPGRADE_LOCK,
    Database,
    check_engine,
    check_newer,
    connect,
    recorded_engine,
    revision,
    translate,
    translated,
)
from ingest.database.operations.lock_holders import LockHolder, LockWatch
from ingest.database.server import roles
from ingest.database.settings import Engine
from ingest.errors import ConfigError, Retryable, SchemaError, StoreError

TIMESCALEDB_MIN = (2, 26, 3)  # the first for PostgreSQL 18 that refreshes layered aggregates
POSTGRES_MIN = 16
SHOW_SECONDS_MAX = 60  # the database refreshes at most two days of bars, which takes seconds


def upgrade(database: Database, engine: Engine | None = None, *, logins: Mapping[str, str] | None = None) -> list[str]:
    """Create or migrate the schema; concurrent upgrades take turns, and the second may have nothing to do.

    Parameters
    ----------
    database
        An open database.
    engine
        The engine to make it for, at the first upgrade; None: as in the settings, otherwise
        TimescaleDB's Community edition if the server has it.
    logins
        Also give the database its roles, and these of them a password; None: only renew the rights of roles that it
        has. The embedded server always has them.

    Returns
    -------
    list of str
        The revisions that were applied, oldest first.

    Raises
    ------
    SchemaError
        If the schema is newer than this program.
    ConfigError
        If the requested engine is not available, or not the recorded one, or this login may not create roles.
    Retryable
        If another session holds a lock for longer than the database's `upgrade_lock_timeout_s`; names it. The schema
        is as it was.
    """
    # Both are slow to import, and only an upgrade needs them.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    # Alembic reads % as the start of a reference to another setting.
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with migration(database, engine, logins=logins) as (connection, before):
        missing = [step.revision for step in script.iterate_revisions("head", before or "base")][::-1]
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return missing


@contextmanager
def migration(
    database: Database, engine: Engine | None = None, *, logins: Mapping[str, str] | None = None
) -> Iterator[tuple[Any, str | None]]:
    """Do what belongs to every migration: take turns, choose the engine, and later show kept bars and renew rights.

    Yields the SQLAlchemy connection of the migration, in one transaction that commits at the end of the block, and the
    revision found. Parameters and errors are those of `upgrade`.
    """
    wanted = engine or database.wanted_engine
    if logins is not None and database.server is None:
        _prepare_roles(database, wanted, logins)
    with translated(), database.connect_as_owner(autocommit=True) as conn:
        conn.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (UPGRADE_LOCK,))
        before = revision(conn)
        check_newer(before)
        recorded = recorded_engine(conn)
        if recorded is not None:
            check_engine(recorded, wanted)
        chosen = recorded or _choose_engine(conn, wanted)
        if chosen == "timescale":
            _update_extension(database)
        with alchemy_connection(database, lock_timeout_s=database.upgrade_lock_timeout_s) as connection:
            _execute(connection, queries.ROOT / "ddl" / "installation.sql")
            if recorded is None:
                connection.exec_driver_sql(queries.query("database/record_engine"), {"engine": chosen})
            yield connection, before
        show_kept_bars(conn)  # also if an earlier upgrade was killed before this step
        if database.server is not None or logins is not None:
            with connect(database.superuser_url, autocommit=True) as admin:
                roles.give(admin)
        else:
            roles.renew(conn)


@contextmanager
def alchemy_connection(database: Database, *, lock_timeout_s: float = 0.0) -> Iterator[Any]:
    """Open a SQLAlchemy connection to a database, in a transaction that commits at the end of the block.

    Parameters
    ----------
    lock_timeout_s
        How long a statement waits for a lock; 0: for ever.

    Raises
    ------
    Retryable
        If a lock is held for longer; names who holds it, and the remedy.
    StoreError
        If the database refuses a statement.
    """
    import sqlalchemy  # noqa: PLC0415 - slow to import, and only an upgrade needs it

    alchemy = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=database.connect_as_owner, poolclass=sqlalchemy.NullPool
    )
    try:
        with alchemy.begin() as connection:
            pid = connection.exec_driver_sql("select pg_backend_pid()").scalar_one()
            with LockWatch(database.superuser_url, pid) as watch:
                connection.exec_driver_sql(f"set local lock_timeout = {round(lock_timeout_s * 1000)}")
                yield connection
    except sqlalchemy.exc.DBAPIError as exc:
        if isinstance(exc.orig, psycopg.errors.LockNotAvailable) and lock_timeout_s:
            raise Retryable(_held_text(watch.holders, lock_timeout_s)) from exc
        if isinstance(exc.orig, psycopg.Error):
            raise translate(exc.orig) from exc
        raise


def _held_text(holders: list[LockHolder], waited_s: float) -> str:
    """Return the error text of an upgrade that did not get a lock."""
    who = str(holders[0]) if holders else "another session"
    others = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
    end = f", or end it with `select pg_terminate_backend({holders[0].pid})`" if holders else ""
    return (
        f"upgrade waited {waited_s:g} s for a lock of {who}{others}, and left the schema as it was: wait until it ends"
        f"{end}; then {UPGRADE}. TICKLINE_UPGRADE_LOCK_TIMEOUT_S sets the wait"
    )


def _prepare_roles(database: Database, wanted: Engine | None, logins: Mapping[str, str]) -> None:
    """Make what only an administrator may, before the owner migrates."""
    with translated(), database.connect(autocommit=True) as admin:
        roles.check_may_create(admin)
        admin.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (UPGRADE_LOCK,))
        check_newer(revision(admin))
        if recorded_engine(admin) is None:
            _choose_engine(admin, wanted)  # creates the extension
        roles.prepare(admin, logins)


def show_kept_bars(conn: psycopg.Connection[Any]) -> None:
    """Make bars visible that an older revision has kept; an upgrade's transaction cannot do this.

    If the database's own refresh is running, try again.
    """
    deadline = time.monotonic() + SHOW_SECONDS_MAX
    while True:
        try:
            conn.execute(queries.query("database/show_kept_bars"))
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def run_ddl(connection: Any, revision: str) -> None:
    """Run the files of a revision for the engine on record.

    Parameters
    ----------
    connection
        The SQLAlchemy connection of the migration, in its transaction.
    revision
        Names the folder of `sql/ddl`.
    """
    chosen = connection.exec_driver_sql("select engine from tickline.installation").scalar_one()
    for path in queries.ddl_files(revision, chosen):
        _execute(connection, path)


def script_location() -> Path:
    """Return the folder of the migrations: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "alembic"
    return installed if installed.is_dir() else queries.ROOT.parent / "alembic"


def _execute(connection: Any, path: Path) -> None:
    """Run a file unchanged: without `no_parameters`, SQLAlchemy and psycopg interpret % and :word in it."""
    connection.execution_options(no_parameters=True).exec_driver_sql(path.read_text(encoding="utf-8"))


def _choose_engine(conn: psycopg.Connection[Any], wanted: Engine | None) -> Engine:
    """Choose the engine of a new database.

    Raises
    ------
    ConfigError
        If the server is too old, or TimescaleDB is requested but not available; says what is missing.
    """
    if conn.info.server_version < POSTGRES_MIN * 10_000:
        raise ConfigError(
            f"server is PostgreSQL {conn.info.parameter_status('server_version')!r}, older than "
            f"{POSTGRES_MIN}: use a newer server, or unset TICKLINE_DATABASE_URL"
        )
    if wanted == "postgres":
        return "postgres"
    lack = _timescaledb_lack(conn)
    if lack is None:
        return "timescale"
    if wanted == "timescale":
        raise ConfigError(
            f"engine 'timescale' is not available: {lack}: install TimescaleDB's Community edition, "
            "or set TICKLINE_ENGINE=postgres"
        )
    return "postgres"


def _timescaledb_lack(conn: psycopg.Connection[Any]) -> str | None:
    """Return why this server cannot have the engine timescale; if it can, leave the extension created."""
    found = found_timescaledb(conn)
    version = found["installed_version"] or found["default_version"]
    if version is None:
        return "the server has no extension 'timescaledb'"
    if not found["loaded"]:
        return "shared_preload_libraries does not name 'timescaledb'"
    if _version(version) < TIMESCALEDB_MIN:
        return f"its version is {version!r}, older than {'.'.join(map(str, TIMESCALEDB_MIN))!r}"
    created = found["installed_version"] is None
    try:
        if created:
            conn.execute("create extension timescaledb")
        # Only the loaded extension knows its edition.
        row = conn.execute("select current_setting('timescaledb.license', true)").fetchone()
    except psycopg.Error as exc:
        return str(translate(exc))
    if row is not None and row[0] == "timescale":
        return None
    if created:
        conn.execute("drop extension timescaledb")
    return f"its edition is {row[0] if row else None!r}, not 'timescale'"


def _update_extension(database: Database) -> None:
    """Update the extension to the version of the server's files, which may be newer now."""
    with database.connect(autocommit=True) as conn:
        found = found_timescaledb(conn)
    if found["installed_version"] in (None, found["default_version"]):
        return
    if found["default_version"] is None or not found["loaded"]:
        raise SchemaError(
            "database was made with TimescaleDB but the server does not load it: "
            f"install it and name it in shared_preload_libraries, then {UPGRADE}"
        )
    # This must be the first statement of its session.
    with connect(database.superuser_url, pinned=False, autocommit=True) as conn:
        conn.execute("alter extension timescaledb update")


def found_timescaledb(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return TimescaleDB on this server and in this database: the row of `available_timescaledb`."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(queries.query("database/available_timescaledb")).fetchone()
    if row is None:
        raise StoreError("database did not answer 'available_timescaledb': see its log")
    return row


def _version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, without a suffix such as '2.30.0-dev'."""
    return tuple(int(part) for part in text.split("-", maxsplit=1)[0].split(".") if part.isdigit())
