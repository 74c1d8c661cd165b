"""A streaming replica of an embedded server, made by `pg_basebackup` as an operator makes one."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ingest.database.embedded import SUPERUSER, EmbeddedServer
from ingest.database.operations import programs
from ingest.database.server import postmaster
from ingest.database.server.roles import READER
from ingest.database.server.standby import standing
from ingest.database.server.user import prepare_folder, server_uid
from tests.fault.harness import wait_until


@dataclass(frozen=True, slots=True)
class Standby:
    """A running standby; `primary` is the server that it follows."""

    primary: EmbeddedServer
    root: Path

    def url(self, user: str = READER) -> str:
        """Return the URL of our database, for the reader or another role."""
        known: dict[str, Any] = conninfo_to_dict(self.primary.url(user=user))
        return make_conninfo("", **known | {"host": str(self.root)})

    def connect(self) -> psycopg.Connection[Any]:
        """Connect as the superuser."""
        return psycopg.connect(self.url(SUPERUSER), autocommit=True)

    def start(self) -> None:
        postmaster.start(self.root / "data", self.root / "log", self.root, ready_seconds_max=60)

    def stop(self) -> None:
        postmaster.stop(self.root / "data")

    def kill(self) -> None:
        """SIGKILL its postmaster, and wait until its other processes have noticed."""
        pid = postmaster.running_pid(self.root / "data")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: postmaster.running_pid(self.root / "data") is None)

    def pause(self) -> None:
        """Let it receive, and replay nothing more."""
        with self.connect() as connection:
            connection.execute("select pg_wal_replay_pause()")
            paused = "select pg_get_wal_replay_pause_state()"
            wait_until(lambda: connection.execute(paused).fetchone() == ("paused",))

    def resume(self) -> None:
        with self.connect() as connection:
            connection.execute("select pg_wal_replay_resume()")

    def catch_up(self) -> None:
        """Wait until it has replayed what the primary has now."""
        with psycopg.connect(self.primary.url(user=SUPERUSER), autocommit=True) as primary, self.connect() as standby:
            end = standing(primary).replayed or 0
            wait_until(lambda: standing(standby).has_all_until(end))


@contextmanager
def standby_of(primary: EmbeddedServer) -> Iterator[Standby]:
    """Make a standby of a server that runs with `wal_level=replica`, and remove it afterwards."""
    root = Path(tempfile.mkdtemp(prefix="tl-"))
    try:
        prepare_folder(root)
        url, data = primary.url(user=SUPERUSER), root / "data"
        given = ("--checkpoint=fast", "--write-recovery-conf", "--wal-method=stream", "--no-sync")
        programs.run(programs.find("pg_basebackup", 18), url, f"--pgdata={data}", *given, file=data)
        with (data / "postgresql.auto.conf").open("a") as conf:
            conf.write(f"unix_socket_directories = '{root}'\nwal_retrieve_retry_interval = '50ms'\n")
        for path in (data, *data.rglob("*")):
            os.chown(path, server_uid(), -1)
        standby = Standby(primary, root)
        standby.start()
        try:
            yield standby
        finally:
            standby.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
