"""Connect to the database, and check its engine and schema revision.

Owns the database of the settings. Must not know the relations or how the schema is created.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, LiteralString, cast

import psycopg
from psycopg.conninfo import make_conninfo

from ingest.database.embedded import SUPERUSER, EmbeddedServer, embedded_server, url_under
from ingest.database.queries import ENGINES, query
from ingest.database.reach import CONNECT_SECONDS_MAX, parts_of, pinned_session, reached
from ingest.database.server import reading, roles
from ingest.database.server.standby import standing
from ingest.database.server.user import check_home
from ingest.database.settings import UPGRADE_LOCK_TIMEOUT_S, DatabaseSettings, Engine
from ingest.database.translation import GRANT, UPGRADE, first_line, translate, translated
from ingest.errors import ConfigError, SchemaError, StoreError

__all__ = [
    "HEAD",
    "NOTICE_A_DEAD_PEER",
    "UPGRADE",
    "UPGRADE_LOCK",
    "Database",
    "break_off",
    "check_engine",
    "check_newer",
    "check_schema",
    "connect",
    "recorded_engine",
    "revision",
    "translate",
    "translated",
]

HEAD = "0017"  # the revision that this program is written for
UPGRADE_LOCK = "tickline.upgrade"  # advisory lock that a running upgrade holds
UPGRADE_POLL_S = 0.1
UPGRADE_SECONDS_MAX = 60.0  # how long a reader waits for a running upgrade; an empty database takes 2 s
UPGRADE_GRACE_S = 1.0  # how long it waits for one to begin: after a server start it has the lock within half a second

# Notice a peer that vanished without closing the connection in half a minute, not in the default two hours.
NOTICE_A_DEAD_PEER: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


class Database:
    """A database: its URLs and, after `bring_up` of an embedded one, a use of its server."""

    def __init__(
        self,
        url: str,
        server: EmbeddedServer | None,
        wanted_engine: Engine | None = None,
        start: Callable[[], EmbeddedServer] | None = None,
        *,
        upgrade_lock_timeout_s: float = UPGRADE_LOCK_TIMEOUT_S,
        reading_place: reading.ReadingPlace | None = None,
    ) -> None:
        self.url = url
        self.server = server
        self.wanted_engine = wanted_engine
        self._start = start
        self.upgrade_lock_timeout_s = upgrade_lock_timeout_s
        self.reading_place = reading_place
        self._engine: Engine | None = None

    @classmethod
    def place(cls, settings: DatabaseSettings) -> Database:
        """Locate the database of the settings without starting or contacting it; see `bring_up`.

        Raises
        ------
        ConfigError
            If the settings are wrong.
        """
        wait_s = settings.upgrade_lock_timeout_s
        reader = settings.read_database_url
        if settings.database_url is not None:
            url = _with_password(settings.database_url.get_secret_value(), settings)
            place = None
            if reader is not None:
                place = reading.ReadingPlace(
                    _with_password(reader.get_secret_value(), settings, reading.SETTING),
                    url,
                    lag_s_max=settings.read_lag_s_max,
                    falls_back=settings.read_fallback,
                )
            check_home(settings.home.absolute())
            return cls(url, None, settings.engine, upgrade_lock_timeout_s=wait_s, reading_place=place)
        if reader is not None:
            raise ConfigError(
                f"setting {reading.SETTING} is set but TICKLINE_DATABASE_URL is not: set both, or none for the "
                "embedded server, which has a reader of its own"
            )
        given: dict[str, Any] = {
            "timescaledb_dir": settings.timescaledb_dir,
            "use_timescaledb": None if settings.engine is None else settings.engine == "timescale",
        }
        start = partial(embedded_server, settings.home, **given, wal_level=settings.embedded_wal_level)
        return cls(url_under(settings.home, **given), None, settings.engine, start, upgrade_lock_timeout_s=wait_s)

    @classmethod
    def open(cls, settings: DatabaseSettings) -> Database:
        """Open the database of the settings; start the embedded server if no URL is set.

        Raises
        ------
        ConfigError
            If the settings are wrong.
        StoreError
            If the embedded server does not start. A server of a URL is not contacted yet.
        """
        database = cls.place(settings)
        database.bring_up()
        return database

    def bring_up(self) -> None:
        """Use the embedded server and start it if it does not run. Do nothing for a server of a URL.

        Raises
        ------
        ConfigError
            If the settings are wrong.
        StoreError
            If the server does not start.
        """
        if self.server is not None:
            self.server.ensure_running()
        elif self._start is not None:
            self.server = self._start()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the use of the embedded server. Safe to repeat."""
        if self.server is not None:
            self.server.close()

    @property
    def reader_url(self) -> str:
        """URL for reading: for the embedded server that of a role that may only read, otherwise as in the settings.

        A replica is asked whether it may be read (`ingest.database.server.reading`), so this may block, and raises
        `Retryable` if it may not.
        """
        if self.server is not None:
            return self.server.url(user=roles.READER)
        return self.url if self.reading_place is None else self.reading_place.url

    @property
    def may_move(self) -> bool:
        """Whether `reader_url` may be another one later: that of the primary, while a replica is no use."""
        return self.reading_place is not None and self.reading_place.is_other_server

    def complete_reader_url(self) -> str:
        """Return a URL for reading all that is committed by now; waits for a replica, and raises as `reader_url`."""
        if self.reading_place is None or not self.may_move:
            return self.reader_url
        with translated(), self.connect(autocommit=True) as connection:
            position = standing(connection).replayed
        return self.reading_place.url_with(position or 0)

    @property
    def owner_url(self) -> str:
        """URL for changing the schema; for the embedded server, that of the owner."""
        return self.url if self.server is None else self.server.url(user=roles.OWNER)

    @property
    def superuser_url(self) -> str:
        """URL for updating extensions, which the owner may not do; a server of a URL has only one URL."""
        return self.url if self.server is None else self.server.url(user=SUPERUSER)

    def connect(self, **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection; see `connect`."""
        return connect(self.url, **parameters)

    def connect_as_owner(self, **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection that acts as the owner of the relations, if there is one whose role this login may take."""
        connection = connect(self.owner_url, **(parameters | {"autocommit": True}))
        try:
            with translated():
                connection.execute(query("roles/become_owner"))
                connection.autocommit = bool(parameters.get("autocommit", False))
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def engine(self) -> Engine:
        """Engine of the schema; the first access raises as `check` does."""
        return self._engine or self.check()

    def check(self) -> Engine:
        """Check the schema; return its engine.

        Raises
        ------
        SchemaError
            If the schema is absent, older or newer than this program.
        ConfigError
            If the settings want the other engine.
        Retryable
            If the connection is lost meanwhile.
        """
        with translated(), self.connect() as conn:
            check_schema(conn)
            engine = recorded_engine(conn)
        if engine is None:
            raise SchemaError(f"database {conn.info.dbname!r} has no recorded engine: {UPGRADE}")
        check_engine(engine, self.wanted_engine)
        self._engine = engine
        return engine


def connect(
    target: DatabaseSettings | Database | str, *, pinned: bool = True, **parameters: Any
) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection with our session settings (`ingest.database.sessions`), and a name in `pg_stat_activity`.

    Parameters
    ----------
    target
        A libpq URL, an open database, or settings with `database_url`. For the embedded server
        open a `Database`, which keeps the server up while it is open.
    pinned
        False: without our session settings, for a statement that must be the first of its session.
    parameters
        Passed to `psycopg.connect`.

    Raises
    ------
    ConfigError
        If the URL is not a libpq URL.
    Retryable
        If the server is away, or still starting or stopping after half a minute. An embedded server that this
        process uses is restarted first.
    StoreError
        If the server refuses this user or database, or a pooler in between does not keep sessions.
    """
    url = _url(target)
    given: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS_MAX,
        "application_name": "tickline",
    } | parameters
    known = parts_of(url)
    # libpq's own settings in the URL win over ours.
    merged = {key: value for key, value in given.items() if key in parameters or key not in known}
    if not pinned:
        return reached(url, merged, known)
    connection = pinned_session(url, merged, known)
    connection.autocommit = bool(parameters.get("autocommit", False))
    return connection


def break_off(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Break a connection that another thread uses, so that its wait fails at once; it may be broken already."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as broken:
        broken.shutdown(socket.SHUT_RDWR)


def check_schema(conn: psycopg.Connection[Any]) -> None:
    """Check that the schema fits this program; wait while another process upgrades it.

    Raises
    ------
    SchemaError
        If the schema is absent, older or newer; the text names the revisions and the remedy.
    StoreError
        If this user may not read the schema.
    """
    try:
        found = _revision_when_made(conn)
        if found is not None:
            conn.execute("select from instruments limit 0")  # every reader reads it
    except psycopg.errors.InsufficientPrivilege as exc:
        raise StoreError(
            f"user {conn.info.user!r} may not read database {conn.info.dbname!r}: {first_line(exc)}: "
            + GRANT.format(repr(conn.info.user))
        ) from exc
    if found is None:
        raise SchemaError(f"database {conn.info.dbname!r} has no tickline schema: {UPGRADE}, or `tickline start`")
    check_newer(found)
    if found < HEAD:
        raise SchemaError(f"database schema has revision {found!r}, older than this program's {HEAD!r}: {UPGRADE}")


def _revision_when_made(conn: psycopg.Connection[Any]) -> str | None:
    """Return the schema's revision; wait if another process is about to create or upgrade it."""
    began = time.monotonic()
    while (found := revision(conn)) is None or found < HEAD:
        runs = conn.execute(query("database/upgrade_runs"), {"lock": UPGRADE_LOCK}).fetchone()
        limit_s = UPGRADE_SECONDS_MAX if runs == (True,) else UPGRADE_GRACE_S
        if not conn.autocommit:
            conn.rollback()  # so that the next check sees new commits
        if time.monotonic() - began > limit_s:
            break
        time.sleep(UPGRADE_POLL_S)
    return found


def check_newer(found: str | None) -> None:
    """Refuse a schema of a newer program. Revisions sort as text."""
    if found is not None and found > HEAD:
        raise SchemaError(
            f"database schema has revision {found!r}, newer than this program's {HEAD!r}: install a newer tickline"
        )


def revision(conn: psycopg.Connection[Any]) -> str | None:
    """Return the schema's revision; None if there is no schema."""
    if not _exists(conn, "tickline.alembic_version"):
        return None
    row = conn.execute("select version_num from tickline.alembic_version").fetchone()
    return None if row is None else str(row[0])


def recorded_engine(conn: psycopg.Connection[Any]) -> Engine | None:
    """Return the engine chosen at the first upgrade; None before it."""
    if not _exists(conn, "tickline.installation"):
        return None
    row = conn.execute("select engine from tickline.installation").fetchone()
    if row is None or row[0] not in ENGINES:
        return None
    return cast(Engine, row[0])


def check_engine(recorded: Engine, wanted: Engine | None) -> None:
    """Refuse settings that want another engine than the database has."""
    if wanted is not None and wanted != recorded:
        raise ConfigError(
            f"database uses engine {recorded!r} but settings say {wanted!r}: "
            f"set TICKLINE_ENGINE={recorded}, or use another database"
        )


def _exists(conn: psycopg.Connection[Any], relation: LiteralString) -> bool:
    """Tell whether a relation exists."""
    row = conn.execute("select to_regclass(%s) is not null", (relation,)).fetchone()
    return bool(row and row[0])


def _with_password(url: str, settings: DatabaseSettings, setting: str = "TICKLINE_DATABASE_URL") -> str:
    """Return a URL with the password that the settings have for its user, unless it has one; raise if it is no URL."""
    known = parts_of(url, setting)
    password = settings.passwords.get(str(known.get("user")))
    return url if password is None or "password" in known else make_conninfo(url, password=password)


def _url(target: DatabaseSettings | Database | str) -> str:
    """Return the libpq URL of a target of `connect`."""
    if isinstance(target, str):
        return target
    if isinstance(target, Database):
        return target.url
    if target.database_url is None:
        raise ConfigError("setting TICKLINE_DATABASE_URL is not set: open the embedded server with `Database`")
    return target.database_url.get_secret_value()
