"""A database to work with: where it is, what it was made for, and what its errors mean.

Owns connecting, the check of the schema's revision, and the translation of PostgreSQL's errors
into ours by SQLSTATE. Must not know the relations, nor how the schema is made.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, LiteralString, cast

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Ping

from sql import ENGINES, sessions
from sql.embedded import EmbeddedServer, embedded_server, revive, url_under
from sql.errors import ConfigError, Rejected, Retryable, SchemaError, StoreError, lower_first
from sql.settings import DatabaseSettings, Engine

HEAD = "0006"  # the revision that this program is written for
CONNECT_SECONDS_MAX = 10
STARTING_POLL_S = 0.1
STARTING_SECONDS_MAX = 30.0  # a server that says that it starts is given so long; a long recovery is tried again
NO_URL = (
    "setting TICKLINE_DATABASE_URL is not a libpq URL: write it as 'postgresql://user:password@host:5432/database', "
    "in a password '%40' for '@' and '%2F' for '/'"
)
UPGRADE = "run `tickline db upgrade`"
UPGRADE_LOCK = "tickline.upgrade"  # held, as an advisory lock, by the one upgrade that runs
UPGRADE_POLL_S = 0.1
UPGRADE_SECONDS_MAX = 60.0  # a reader waits so long for an upgrade that runs; of an empty database it takes 2 s
UPGRADE_GRACE_S = 1.0  # and so long for one to begin: who started the server has the lock within half a second

_keeping_poolers: set[str] = set()  # URLs of poolers that are known to keep a session; asking costs a session

# SQLSTATE, by the longest prefix that fits (PostgreSQL manual, appendix A).
_CLASSES: dict[str, Callable[[str], StoreError]] = {
    "08": Retryable,  # the connection broke
    "53": Retryable,  # out of disk, memory or connections: somebody can make room
    "57P0": Retryable,  # the server stops, starts or ended the session
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


class Database:
    """A database: its URL and, when it is embedded and was brought up, a use of its server."""

    def __init__(
        self,
        url: str,
        server: EmbeddedServer | None,
        wanted_engine: Engine | None = None,
        start: Callable[[], EmbeddedServer] | None = None,
    ) -> None:
        self.url = url
        self.server = server
        self.wanted_engine = wanted_engine
        self._start = start
        self._engine: Engine | None = None

    @classmethod
    def place(cls, settings: DatabaseSettings) -> Database:
        """Tell where the database of the settings is; nothing is started or looked for, see `bring_up`.

        Raises
        ------
        ConfigError
            If the settings cannot be followed.
        """
        if settings.database_url is not None:
            url = settings.database_url.get_secret_value()
            _parts_of(url)
            return cls(url, None, settings.engine)
        given: dict[str, Any] = {
            "timescaledb_dir": settings.timescaledb_dir,
            "use_timescaledb": None if settings.engine is None else settings.engine == "timescale",
        }
        start = partial(embedded_server, settings.home, **given)
        return cls(url_under(settings.home, **given), None, settings.engine, start)

    @classmethod
    def open(cls, settings: DatabaseSettings) -> Database:
        """Open the database of the settings, starting the embedded server when no URL is set.

        Raises
        ------
        ConfigError
            If the settings cannot be followed.
        StoreError
            If the embedded server does not come up. A server of a URL is not looked for yet.
        """
        database = cls.place(settings)
        database.bring_up()
        return database

    def bring_up(self) -> None:
        """Use the embedded server, starting it where it does not run. A server of a URL is somebody else's.

        Raises
        ------
        ConfigError
            If the settings cannot be followed.
        StoreError
            If it does not come up.
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
        """Give up the embedded server. Safe to repeat."""
        if self.server is not None:
            self.server.close()

    def connect(self, **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection; see `connect`."""
        return connect(self.url, **parameters)

    @property
    def engine(self) -> Engine:
        """The engine that the schema was made for; raises as `check` does, the first time."""
        return self._engine or self.check()

    def check(self) -> Engine:
        """Look at the schema; return the engine that it was made for.

        Raises
        ------
        SchemaError
            If the schema is absent, older or newer than this program.
        ConfigError
            If the settings want the other engine.
        """
        with self.connect() as conn:
            check_schema(conn)
            engine = recorded_engine(conn)
        if engine is None:
            raise SchemaError(f"database {conn.info.dbname!r} has no engine on record: {UPGRADE}")
        check_engine(engine, self.wanted_engine)
        self._engine = engine
        return engine


def connect(target: DatabaseSettings | Database | str, **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection with our session settings (`sql.sessions`), and a name in `pg_stat_activity`.

    Parameters
    ----------
    target
        A libpq URL, an open database, or settings with `database_url`. For the embedded server
        open a `Database`, which keeps the server up as long as it is open.
    parameters
        Passed to `psycopg.connect`.

    Raises
    ------
    ConfigError
        If the URL is not one.
    Retryable
        If the server is away, or still starting or stopping after half a minute. An embedded server that this
        process uses is started again first.
    StoreError
        If the server refuses this user or database, or a pooler is in between that keeps no session.
    """
    url = _url(target)
    given: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS_MAX,
        "application_name": "tickline",
    } | parameters
    known = _parts_of(url)
    # libpq's own settings in the URL win over ours.
    merged = {key: value for key, value in given.items() if key in parameters or key not in known}
    connection = _pinned(url, merged, known)
    connection.autocommit = bool(parameters.get("autocommit", False))
    return connection


def _pinned(url: str, parameters: dict[str, Any], known: dict[str, Any]) -> psycopg.Connection[tuple[Any, ...]]:
    """Open an autocommit connection whose session is our own and has our settings.

    Raises
    ------
    StoreError
        If it cannot be had; also if a pooler gives each transaction another session.
    """
    while True:
        connection = _reached(url, parameters | {"autocommit": True}, known)
        try:
            is_pooled = sessions.pin(connection)
        except psycopg.Error as exc:
            connection.close()
            raise translate(exc) from exc
        if not is_pooled or url in _keeping_poolers:
            return connection
        connection.close()  # the pool may have no more than one for us
        if not sessions.is_kept(lambda: _reached(url, parameters | {"autocommit": True}, known)):
            raise StoreError(
                f"database at {_place(known)!r} is behind a pooler that gives each transaction another session: locks "
                "and settings would not hold: name the server's own port in TICKLINE_DATABASE_URL, or set "
                "pool_mode=session"
            )
        _keeping_poolers.add(url)


def _reached(url: str, parameters: dict[str, Any], known: dict[str, Any]) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection, waiting for a server that is starting or stopping."""
    try:
        return psycopg.connect(url, **parameters)
    except psycopg.Error as exc:
        answer = _await_start(url)
        is_revived = answer == Ping.NO_RESPONSE and revive(str(known.get("host")))
        if answer != Ping.OK and not is_revived:
            raise _connect_error(exc, answer, known) from exc
    # It may have come up since.
    try:
        return psycopg.connect(url, **parameters)
    except psycopg.Error as exc:
        raise _connect_error(exc, _await_start(url), known) from exc


def check_schema(conn: psycopg.Connection[Any]) -> None:
    """Make sure that the schema is the one this program is written for; wait for one that is being made.

    Raises
    ------
    SchemaError
        If it is absent, older or newer; the text names the revisions and the remedy.
    """
    found = _revision_when_made(conn)
    if found is None:
        raise SchemaError(f"database {conn.info.dbname!r} has no tickline schema: {UPGRADE}, or `tickline start`")
    check_newer(found)
    if found < HEAD:
        raise SchemaError(f"database schema has revision {found!r}, older than this program's {HEAD!r}: {UPGRADE}")


def _revision_when_made(conn: psycopg.Connection[Any]) -> str | None:
    """Return the schema's revision, of one that another process is about to make when it is made."""
    began = time.monotonic()
    while (found := revision(conn)) is None or found < HEAD:
        is_idle = conn.execute(
            "select pg_try_advisory_xact_lock_shared(hashtextextended(%s, 0))", (UPGRADE_LOCK,)
        ).fetchone()
        limit_s = UPGRADE_SECONDS_MAX if is_idle == (False,) else UPGRADE_GRACE_S
        if not conn.autocommit:
            conn.rollback()  # lets go of the lock, and the next look sees what was committed meanwhile
        if time.monotonic() - began > limit_s:
            break
        time.sleep(UPGRADE_POLL_S)
    return found


def check_newer(found: str | None) -> None:
    """Refuse a schema that a newer program made. Revisions sort as text."""
    if found is not None and found > HEAD:
        raise SchemaError(
            f"database schema has revision {found!r}, newer than this program's {HEAD!r}: install a newer tickline"
        )


def revision(conn: psycopg.Connection[Any]) -> str | None:
    """Return the schema's revision, None where there is no schema."""
    if not _exists(conn, "tickline.alembic_version"):
        return None
    row = conn.execute("select version_num from tickline.alembic_version").fetchone()
    return None if row is None else str(row[0])


def recorded_engine(conn: psycopg.Connection[Any]) -> Engine | None:
    """Return the engine chosen at the first upgrade, None before it."""
    if not _exists(conn, "tickline.installation"):
        return None
    row = conn.execute("select engine from tickline.installation").fetchone()
    if row is None or row[0] not in ENGINES:
        return None
    return cast(Engine, row[0])


def check_engine(recorded: Engine, wanted: Engine | None) -> None:
    """Refuse settings that want another engine than the database was made for."""
    if wanted is not None and wanted != recorded:
        raise ConfigError(
            f"database uses engine {recorded!r} but settings say {wanted!r}: "
            f"set TICKLINE_ENGINE={recorded}, or use another database"
        )


def translate(exc: psycopg.Error) -> StoreError:
    """Turn an error of the database into ours, by SQLSTATE; raise it `from exc`.

    An error without an SQLSTATE is the client's: a connection that broke when it is an
    `OperationalError`, else a mistake of ours.
    """
    if exc.sqlstate is None:
        kind: Callable[[str], StoreError] = (
            Retryable if isinstance(exc, (errors.OperationalError, errors.InterfaceError)) else StoreError
        )
        return kind(f"database connection lost: {_first_line(exc)}: see `tickline db status`")
    prefixes = sorted((prefix for prefix in _CLASSES if exc.sqlstate.startswith(prefix)), key=len)
    kind = _CLASSES[prefixes[-1]] if prefixes else StoreError
    text = f"database refused: {_first_line(exc)} (sqlstate {exc.sqlstate!r})"
    return kind(f"{text}: {UPGRADE}" if kind is SchemaError else text)


def _exists(conn: psycopg.Connection[Any], relation: LiteralString) -> bool:
    """Tell whether a relation is there."""
    row = conn.execute("select to_regclass(%s) is not null", (relation,)).fetchone()
    return bool(row and row[0])


def _url(target: DatabaseSettings | Database | str) -> str:
    """Return the libpq URL of what `connect` was given."""
    if isinstance(target, str):
        return target
    if isinstance(target, Database):
        return target.url
    if target.database_url is None:
        raise ConfigError("setting TICKLINE_DATABASE_URL is not set: open the embedded server with `Database`")
    return target.database_url.get_secret_value()


def _parts_of(url: str) -> dict[str, Any]:
    """Return the parameters that a URL holds; raise `ConfigError` if it is none."""
    try:
        known: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The text of the library's error repeats the URL, which may hold a password; a traceback would show it.
        raise ConfigError(NO_URL) from None
    if _is_misread(url, known):
        raise ConfigError(NO_URL)
    return known


def _is_misread(url: str, known: dict[str, Any]) -> bool:
    """Tell whether a part of a password was taken for a host, port or database: later errors would show it."""
    host, port, dbname = (str(known.get(word) or "") for word in ("host", "port", "dbname"))
    is_cut = "@" in host[1:] or ("@" in dbname and "%40" not in url)  # a host that begins with @ is an abstract socket
    return "://" in url and (is_cut or re.fullmatch(r"[\d,]*", port) is None)


def _await_start(url: str) -> Ping:
    """Ask a server how it is, without a password, for as long as it says that it is starting or stopping."""
    conninfo = make_conninfo(url, connect_timeout=3).encode()
    deadline = time.monotonic() + STARTING_SECONDS_MAX
    while (answer := psycopg.pq.PGconn.ping(conninfo)) == Ping.REJECT and time.monotonic() < deadline:
        time.sleep(STARTING_POLL_S)
    return Ping(answer)


def _connect_error(exc: psycopg.Error, answer: Ping, known: dict[str, Any]) -> StoreError:
    """Say which server could not be used, never with what password.

    A failed connection has no SQLSTATE. A server that answers a ping has refused this user or
    database, and will go on doing so.
    """
    place = _place(known)
    if answer == Ping.OK:
        return StoreError(
            f"database at {place!r} refused the connection: {_first_line(exc)}: correct TICKLINE_DATABASE_URL"
        )
    if answer == Ping.REJECT:
        return Retryable(f"database at {place!r} is starting or stopping: {_first_line(exc)}: wait until it is up")
    return Retryable(
        f"database at {place!r} cannot be reached: {_first_line(exc)}: start it, or correct TICKLINE_DATABASE_URL"
    )


def _place(known: dict[str, Any]) -> str:
    """Return where a URL points, without user and password."""
    return f"{known.get('host') or known.get('hostaddr') or 'localhost'}:{known.get('port') or 5432}"


def _first_line(exc: psycopg.Error) -> str:
    """Return the server's message, or the client's first line, without a period at its end."""
    text = exc.diag.message_primary or (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return lower_first(text.strip().rstrip("."))
