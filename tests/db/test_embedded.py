"""The embedded server: shared, kept, and up again after whatever was killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.pq import Ping

from analytics.read.copy_reader import read_frame
from ingest.database import embedded, queries, reach, timescaledb
from ingest.database.connections import Database, connect
from ingest.database.embedded import SUPERUSER, EmbeddedServer, embedded_server
from ingest.database.server import postmaster
from ingest.database.settings import DatabaseSettings, load
from ingest.errors import ConfigError, Retryable, StoreError
from tests.fault.harness import WITHIN_S, wait_until

# A user of the server as another process: says so, and lives until its input ends.
USER = """
import sys
from pathlib import Path
from ingest.database.embedded import embedded_server
with embedded_server(Path(sys.argv[1]), use_timescaledb=False) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


def plain(home: Path) -> EmbeddedServer:
    """The embedded server without TimescaleDB, which is quicker to start."""
    return embedded_server(home, use_timescaledb=False)


def start_user(home: Path) -> tuple[subprocess.Popen[str], int]:
    """Start another process that uses the server; return it and the postmaster it sees."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=queries.ROOT.parent,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def end_user(process: subprocess.Popen[str]) -> None:
    """Let a user end in order."""
    process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0


def test_embedded_data_is_kept_between_runs(home: Path) -> None:
    with plain(home) as server, psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("create table kept (n int)")
    assert server.pid is None
    with plain(home) as server, psycopg.connect(server.url(user=SUPERUSER)) as conn:
        conn.execute("select n from kept")
        settings = conn.execute(
            "select current_setting('listen_addresses'), current_setting('timezone'), current_setting('fsync'), "
            "current_setting('jit'), current_setting('shared_preload_libraries')"
        ).fetchone()
    assert settings == ("", "UTC", "on", "off", "")


def test_variables_of_libpq_lead_nobody_elsewhere(
    made_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "services"
    services.write_text("[desk]\nhostaddr=127.0.0.1\nport=1\nuser=nobody\ndbname=nothing\nsslmode=require\n")
    for name, value in {
        "PGHOST": "example.invalid", "PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGUSER": "nobody",
        "PGDATABASE": "nothing", "PGSERVICE": "desk", "PGSERVICEFILE": str(services), "PGSSLMODE": "require",
        "PGSSLNEGOTIATION": "direct", "PGGSSENCMODE": "require", "PGREQUIREAUTH": "scram-sha-256",
        "PGREQUIREPEER": "nobody", "PGCHANNELBINDING": "require", "PGTARGETSESSIONATTRS": "standby",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with plain(made_home) as server:
        assert read_frame(server.url(), "select 1 as x")["x"].to_list() == [1]
        monkeypatch.setenv("PGSERVICE", "nosuch")
        with pytest.raises(Retryable, match='embedded database cannot be used: .*"nosuch" not found: check the PG'):
            plain(made_home)
        for name in ("PGSERVICE", "PGPORT"):
            monkeypatch.delenv(name)
        with connect(server.url()) as conn:  # whoever has another environment finds the same server
            assert conn.info.port == 5432


def test_embedded_folder_is_closed_to_others(home: Path) -> None:
    with plain(home):
        for folder in (home / "postgres", home / "postgres" / "data"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_embedded_two_processes_share_one_server(made_home: Path) -> None:
    first, first_pid = start_user(made_home)
    second, second_pid = start_user(made_home)
    assert first_pid == second_pid
    end_user(first)
    assert psutil.pid_exists(first_pid)
    end_user(second)
    wait_until(lambda: not psutil.pid_exists(first_pid))


def test_embedded_two_processes_starting_at_once_share_one_server(home: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=queries.ROOT.parent,
        )
        for _ in range(2)
    ]  # fmt: skip
    pids = {process.stdout.readline() for process in processes if process.stdout}
    assert len(pids) == 1
    for process in processes:
        end_user(process)


def test_embedded_two_uses_in_one_process_share_one_server(made_home: Path) -> None:
    first, second = plain(made_home), plain(made_home)
    assert first.pid == second.pid
    first.close()
    first.close()
    assert second.pid is not None
    second.close()
    assert second.pid is None


def test_embedded_killed_user_does_not_keep_the_server(made_home: Path) -> None:
    user, pid = start_user(made_home)
    user.send_signal(signal.SIGKILL)
    user.communicate(timeout=WITHIN_S)
    assert psutil.pid_exists(pid)
    with plain(made_home) as server:
        assert server.pid == pid
    wait_until(lambda: server.pid is None)


def test_embedded_killed_postmaster_recovers_committed_rows(made_home: Path) -> None:
    with plain(made_home) as server:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("create table kept as select generate_series(1, 1000) as n")
            server.kill()
        wait_until(lambda: server.pid is None)
        server.ensure_running()
        with psycopg.connect(server.url()) as conn:
            assert conn.execute("select count(*) from kept").fetchone() == (1000,)


# What a standby can be made of.
REPLICA = {"wal_level": "replica"}


def keep_rejecting(server: EmbeddedServer) -> Path:
    """Restart the server as a standby that takes no connections until it is promoted; return its data folder."""
    data = server.root / "data"
    postmaster.stop(data)
    (data / "standby.signal").touch()
    with (data / "tickline.conf").open("a") as conf:
        conf.write("hot_standby = off\n")
    postmaster.start(data, server.root / "log", postmaster.socket_folder(server.root), ready_seconds_max=30)
    assert psycopg.pq.PGconn.ping(server.url().encode()) == Ping.REJECT
    return data


def test_connect_to_a_server_that_starts_waits_for_it(made_home: Path) -> None:
    with embedded_server(made_home, use_timescaledb=False, settings=REPLICA) as server:
        data = keep_rejecting(server)
        promotion = threading.Timer(0.3, lambda: postmaster._run("pg_ctl", "promote", "-s", "-D", str(data), cwd=data))
        promotion.start()
        with connect(server.url()) as conn:
            assert conn.execute("select pg_is_in_recovery()").fetchone() == (False,)
        promotion.join()


def test_connect_to_a_server_that_stays_in_its_start_says_so(made_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "STARTING_SECONDS_MAX", 0.3)
    with embedded_server(made_home, use_timescaledb=False, settings=REPLICA) as server:
        keep_rejecting(server)
        with pytest.raises(Retryable, match=r"is starting or stopping: .*: wait until it is up") as caught:
            connect(server.url())
        assert "correct" not in str(caught.value)


def test_embedded_stale_pid_file_of_a_running_program_is_replaced(made_home: Path) -> None:
    with plain(made_home) as server:
        data = made_home / "postgres" / "data"
        server.kill()
        wait_until(lambda: server.pid is None)
    lines = (data / "postmaster.pid").read_text().splitlines()
    (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with plain(made_home) as server, psycopg.connect(server.url()) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_embedded_unfinished_data_folder_is_made_anew(home: Path) -> None:
    half_made = home / "postgres" / "data.unfinished" / "base"
    half_made.mkdir(parents=True)
    with plain(home) as server:
        assert server.pid is not None
    assert not half_made.exists()


def test_embedded_long_path_gets_a_short_socket(home: Path) -> None:
    long_home = home / ("long" * 25)
    with plain(long_home) as server, psycopg.connect(server.url()) as conn:
        socket_dir = Path(conn.info.host)
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
    assert not socket_dir.exists()


def test_embedded_settings_that_fail_are_named(home: Path) -> None:
    with pytest.raises(StoreError, match=r"embedded database did not start: .*tickline\.conf.* contains errors"):
        embedded_server(home, use_timescaledb=False, settings={"shared_buffers": "lots"})
    with plain(home) as server:
        assert server.pid is not None


def test_embedded_timescaledb_asked_for_and_absent_names_the_places(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = timescaledb.Files(home / "lib", home / "share")
    monkeypatch.setattr(timescaledb, "candidates", lambda: [nowhere])
    with pytest.raises(ConfigError, match=r"not found in .*: set TIMESCALEDB_DIR"):
        embedded_server(home, use_timescaledb=True)


def test_embedded_wrong_timescaledb_dir_is_an_error_that_names_what_is_missing(made_home: Path) -> None:
    extension, lib = made_home / "ts" / "share" / "extension", made_home / "ts" / "lib"
    for made, missing in (
        (extension, extension / "timescaledb.control"),
        (lib, extension / "timescaledb.control"),
        (extension / "timescaledb.control", lib / "timescaledb-*.so"),
    ):
        if made.suffix:
            made.touch()
        else:
            made.mkdir(parents=True)
        text = re.escape(f"TIMESCALEDB_DIR has the wrong value '{made_home}/ts': there is no {missing}")
        with pytest.raises(ConfigError, match=text):  # and no silent search in /opt
            embedded_server(made_home, timescaledb_dir=made_home / "ts")
    with pytest.raises(ConfigError, match="TIMESCALEDB_DIR has the wrong value"):  # before a start records
        Database.place(load(DatabaseSettings, home=made_home, database_url=None, timescaledb_dir=made_home / "ts"))
    with pytest.raises(ConfigError, match="takes ':' for the end of a folder"):
        timescaledb.find(made_home / "a:b")
    with embedded_server(made_home, timescaledb_dir=made_home / "ts", use_timescaledb=False) as server:
        assert server.pid is not None


def test_embedded_timescale_database_without_the_files_is_refused(made_home: Path) -> None:
    if timescaledb.find(DatabaseSettings().timescaledb_dir) is None:
        pytest.skip("TimescaleDB not found")
    with embedded_server(made_home, use_timescaledb=True) as server, psycopg.connect(server.url()) as conn:
        conn.execute("create extension timescaledb")
    with pytest.raises(ConfigError, match=r"uses TimescaleDB but its files are not loaded: set TIMESCALEDB_DIR"):
        plain(made_home)
    assert server.pid is None


def test_database_open_without_url_is_embedded(home: Path) -> None:
    with Database.open(load(DatabaseSettings, home=home, database_url=None, engine="postgres")) as database:
        assert database.server is not None
        with database.connect() as conn:
            assert conn.execute("select current_database(), current_setting('timezone')").fetchone() == (
                "tickline",
                "UTC",
            )
    assert database.server.pid is None


def test_database_has_a_place_before_its_server_runs(home: Path) -> None:
    place = Database.place(load(DatabaseSettings, home=home, database_url=None, engine="postgres"))
    with place:
        with pytest.raises(Retryable, match="cannot be reached"):
            place.connect()
        assert place.server is None
        place.bring_up()
        assert place.server is not None
        with place.connect() as conn:
            assert conn.execute("select current_database()").fetchone() == ("tickline",)
        place.bring_up()  # once more, as whoever connects again does
    assert place.server.pid is None


def test_place_with_a_url_that_is_none_is_refused_at_once(home: Path) -> None:
    with pytest.raises(ConfigError, match="is not a libpq URL"):
        Database.place(load(DatabaseSettings, home=home, database_url="no url"))


def test_server_that_says_nothing_is_busy_and_holds_up_no_other_thread(
    made_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorder would read no frame meanwhile: libpq's ping waits with Python's lock in its hands."""
    monkeypatch.setattr(embedded, "PING_SECONDS_MAX", 2)  # libpq takes no fewer
    monkeypatch.setattr(reach, "_await_start", lambda _: pytest.fail("it was asked by libpq's ping"))
    with plain(made_home) as server:
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            assert embedded._ping(server) == Ping.REJECT
        finally:
            os.kill(pid, signal.SIGCONT)
        monkeypatch.setattr(embedded, "PING_SECONDS_MAX", int(WITHIN_S))
        assert embedded._ping(server) == Ping.OK
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(made_home / ".s.PGSQL.5432"))
        silent.listen()
        with pytest.raises(Retryable, match="cannot be reached"):
            connect(f"postgresql://nobody@/nothing?host={made_home}&connect_timeout=2")
