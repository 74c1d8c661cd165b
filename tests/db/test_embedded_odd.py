"""The embedded server in odd places, after odd ends, and in the hands of the wrong user: it works, or says why not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingest.database import queries
from ingest.database import upgrade as apply
from ingest.database.connections import Database, connect
from ingest.database.embedded import EmbeddedServer, embedded_server
from ingest.database.server import postmaster
from ingest.database.server import user as server_user
from ingest.database.settings import DatabaseSettings, load
from ingest.errors import ConfigError, StoreError
from tests.fault.harness import WITHIN_S, wait_until

COMMAND = [sys.executable, "-m", "ingest.cli"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter the folders of others")


def plain(home: Path) -> EmbeddedServer:
    return embedded_server(home, use_timescaledb=False)


def answers(server: EmbeddedServer) -> bool:
    with psycopg.connect(server.url()) as conn:
        return conn.execute("select 1").fetchone() == (1,)


def tickline(home: Path, *arguments: str, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TICKLINE_", "UPSTOX_"))}
    # Under nohup a hangup is ignored, and a child inherits that; what is handled here begins there as usual.
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    process = subprocess.Popen(
        [*wrapper, *COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tempfile.gettempdir(),
        env=clean | {"PYTHONPATH": str(queries.ROOT.parent), "TICKLINE_HOME": str(home), "TICKLINE_ENGINE": "postgres"},
    )
    signal.signal(signal.SIGHUP, before)
    return process


@pytest.fixture(scope="module")
def kept() -> Iterator[Path]:
    """A home whose database is made; tests leave it stopped."""
    home = Path(tempfile.mkdtemp(prefix="tl-"))
    with plain(home) as server:
        apply.upgrade(Database(server.url(), None))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "garbage\n", "-1\n", "99999999999999999999\n", "4194304\n", "\udcff\n", "1\n"],
    ids=["empty", "blank", "words", "negative", "huge", "nobody", "bytes", "another"],
)
def test_pid_file_of_any_kind_is_replaced_when_no_server_is_left(kept: Path, text: str) -> None:
    data = kept / "postgres" / "data"
    (data / "postmaster.pid").write_bytes(os.fsencode(text))
    (data.parent / ".s.PGSQL.5432.lock").write_bytes(os.fsencode(text))
    with plain(kept) as server:
        assert answers(server)


def test_server_whose_pid_file_was_emptied_is_used(kept: Path) -> None:
    with plain(kept) as server:
        pid_file = kept / "postgres" / "data" / "postmaster.pid"
        whole, pid = pid_file.read_bytes(), server.pid
        pid_file.write_bytes(b"")
        with plain(kept) as second:
            assert answers(second)
        pid_file.write_bytes(whole)
        assert server.pid == pid


def test_second_server_is_not_started_beside_processes_of_the_first(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells is the lock that they hold: a container may hide whose processes they are."""
    monkeypatch.setattr(postmaster, "_works_in", lambda *_: False)
    with plain(kept) as first, plain(kept) as second:
        assert first.pid == second.pid is not None
    with (kept / "postgres" / "server.lock").open("ab") as lock:
        assert postmaster.take_lock(lock, seconds_max=30)
        with pytest.raises(StoreError, match=r"did not start: .*processes of an earlier server still run"):
            monkeypatch.setattr("ingest.database.embedded.READY_SECONDS_MAX", 0.1)
            plain(kept)


@pytest.mark.parametrize("name", ["with $HOME, a comma", "quote\"s '`back\\slash", "Händler ₹", "x" * 120])
def test_home_of_any_name_works(kept: Path, name: str) -> None:
    home = kept.with_name(f"{kept.name} {name}")
    shutil.copytree(kept, home, symlinks=True)
    for path in [home / "postgres", *(home / "postgres").rglob("*")]:
        os.chown(path, server_user.server_uid(), -1)
    try:
        with Database(f"{(server := plain(home)).url()}", server) as database, database.connect() as conn:
            assert conn.execute("select 1").fetchone() == (1,)
            assert "," not in conn.info.host
        assert server.pid is None
        assert not server.socket_dir.exists()
    finally:
        shutil.rmtree(home)


def test_home_with_a_line_break_in_its_name_is_refused(kept: Path) -> None:
    with pytest.raises(ConfigError, match="has a line break in its name"):
        plain(kept / "a\nb")


def test_another_tmpdir_finds_the_same_socket(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = kept / ("x" * 100)
    first = postmaster.socket_folder(root)
    monkeypatch.setattr(tempfile, "tempdir", "/" + "y" * 200)
    assert postmaster.socket_folder(root) == first
    assert len(str(first)) < 60


def test_socket_folder_that_is_a_lost_link_is_made_new_and_that_of_others_refused(home: Path) -> None:
    link = home / "socket"
    link.symlink_to(home / "nowhere")
    server_user.own_folder(link)
    assert link.is_dir()
    assert not link.is_symlink()
    (home / "file").touch()
    with pytest.raises(ConfigError, match="is not our folder: remove it"):
        server_user.own_folder(home / "file")


@pytest.mark.parametrize("name", ["postgres", "postgres/data"])
def test_link_that_leads_nowhere_is_said_and_no_database_is_made_there(home: Path, name: str) -> None:
    (home / "postgres").mkdir() if "/" in name else None
    (home / name).symlink_to(home / "mnt" / "disk")
    with pytest.raises(ConfigError, match=r"is a link to '.*/mnt/disk', which does not exist: mount it"):
        plain(home)
    assert not (home / "mnt").exists()


def test_data_folder_that_is_none_is_said_and_left_alone(kept: Path) -> None:
    data = kept / "postgres" / "data"
    (data / "PG_VERSION").rename(data / "away")
    try:
        with pytest.raises(
            ConfigError, match=r"is not a PostgreSQL database .*: restore the missing files, or move it"
        ):
            plain(kept)
    finally:
        (data / "away").rename(data / "PG_VERSION")
    (data / "global").rename(data / "away")
    try:
        with pytest.raises(StoreError, match=r"did not start: .*could not find the database system.*global/pg_control"):
            plain(kept)
    finally:
        (data / "away").rename(data / "global")
    with plain(kept) as server:
        assert answers(server)


def test_killed_first_start_leaves_nothing_that_the_next_one_trips_over(home: Path) -> None:
    """Its initdb still runs when the next one begins."""
    first = tickline(home, "db", "status")
    wait_until(lambda: list(home.glob("postgres/data.unfinished*/base")))
    first.kill()
    first.communicate()
    with plain(home) as server:
        assert answers(server)
    with plain(home):
        assert not list(home.glob("postgres/data.unfinished*"))


def test_disk_that_is_full_is_said(home: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(home)], check=False).returncode:
        pytest.skip("a small file system cannot be mounted")
    try:
        with pytest.raises(StoreError, match=r"initdb failed in '.*': .*[Nn]o space left on device"):
            plain(home)
        assert not list(home.glob("postgres/data*"))
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_reader_that_is_ended_leaves_no_server(kept: Path, number: signal.Signals) -> None:
    reader = tickline(kept, "sql", "select pg_sleep(600)")
    data = kept / "postgres" / "data"
    url = f"postgresql://postgres@/tickline?host={kept}/postgres"

    def is_asking() -> bool:
        assert reader.poll() is None, reader.communicate()
        try:
            with psycopg.connect(url) as conn:
                asked = "select from pg_stat_activity where wait_event = 'PgSleep'"
                return conn.execute(asked).fetchone() is not None
        except psycopg.OperationalError:
            return False

    wait_until(is_asking)
    reader.send_signal(number)
    assert "tickline: stopped" in reader.communicate(timeout=WITHIN_S)[1]
    assert reader.returncode == 1
    assert postmaster.running_pid(data) is None


def test_two_first_commands_at_once_share_one_server(home: Path) -> None:
    both = [tickline(home, "db", "upgrade") for _ in range(2)]
    said = [one.communicate(timeout=3 * WITHIN_S) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert postmaster.running_pid(home / "postgres" / "data") is None


def test_connection_that_misses_the_server_starts_it_again(kept: Path) -> None:
    with plain(kept) as server:
        first = server.pid
        server.kill()
        wait_until(lambda: server.pid is None)
        with connect(server.url()) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        assert server.pid not in {None, first}
        url = server.url()
    with pytest.raises(StoreError, match="cannot be reached"):  # who has given up the server does not bring it back
        connect(url)
    assert server.pid is None


def test_close_does_not_wait_for_a_long_start(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.database.embedded.CLOSE_SECONDS_MAX", 0.05)
    server = plain(kept)
    with (kept / "postgres" / "start.lock").open("ab") as lock:
        assert postmaster.take_lock(lock, seconds_max=0)
        closing = threading.Thread(target=server.close)
        closing.start()
        closing.join(timeout=WITHIN_S)
        assert not closing.is_alive()
    with plain(kept) as server:
        assert answers(server)
    assert server.pid is None


@as_root
def test_root_leaves_the_home_of_a_user_as_it_is(kept: Path) -> None:
    def seen() -> list[tuple[str, int, int, int]]:
        found = [kept, *kept.rglob("*")]
        return [(str(path), path.lstat().st_uid, path.lstat().st_gid, path.lstat().st_mode) for path in sorted(found)]

    def give(uid: int) -> None:
        for path in [kept, *kept.rglob("*")]:
            os.chown(path, uid, -1)

    give(12345)
    kept.chmod(0o700)
    before = seen()
    try:
        with pytest.raises(ConfigError, match=r"belongs to user 12345, not to 'root': run as that user"):
            plain(kept)
        fresh = kept / "fresh"
        with pytest.raises(ConfigError, match=r"belongs to user 12345"):
            plain(fresh)
        for place in (kept, fresh / "er"):  # a server of a URL has no folder there, but journal and token have
            with pytest.raises(ConfigError, match=r"belongs to user 12345"):
                Database.place(load(DatabaseSettings, home=place, database_url="postgresql://nobody@127.0.0.1:9/none"))
        assert seen() == before
    finally:
        give(server_user.server_uid())
        os.chown(kept, 0, -1)


@as_root
def test_root_opens_no_closed_folder_of_a_user(home: Path) -> None:
    os.chown(home, 12345, -1)
    (home / "own").mkdir()
    with pytest.raises(ConfigError, match=r"of user 12345 is closed to user 'embedded_postgres'.*: run as 12345"):
        plain(home / "own")
    assert home.stat().st_mode & 0o777 == 0o700


@as_root
def test_server_is_known_without_the_right_to_look_at_processes(kept: Path) -> None:
    """Docker's root has no CAP_SYS_PTRACE, so it cannot see where another user's process works."""
    bare = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not there")
    for _ in range(2):
        ran = tickline(kept, "db", "upgrade", wrapper=bare)
        assert (ran.communicate(timeout=2 * WITHIN_S)[1], ran.returncode) == ("", 0)
        assert not list(kept.glob("postgres/data/postmaster.pid"))
