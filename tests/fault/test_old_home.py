"""A home that an earlier version made, with all it holds, opens, is upgraded, adds up and goes on.

`tests/homes/0002-ENGINE.tar.xz` was made by the version of schema 0002, with its own commands, on PostgreSQL 18 for
x86-64: a day that was replayed, exported and dropped; a day that was recorded while the database, then the recorder,
were killed, so that the end of its journal is not committed. `before/` has what that version said of its bars, and
its `.env.example`. Made-up market; made by us, licence as the project's.
"""

from __future__ import annotations

import csv
import fcntl
import os
import platform
import shutil
import sys
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.database import timescaledb
from ingest.database.connections import HEAD, Database
from ingest.database.queries import ENGINES
from ingest.database.server import user as server_user
from ingest.database.settings import DatabaseSettings, Engine, load
from ingest.settings import Settings
from tests.conftest import NO_TIMESCALE
from tests.data import REPOSITORY
from tests.fault.harness import QUICK, WITHIN_S, Command, Market, wait_until

DROPPED = "2026-11-26"
KEYS = "NSE_FO|35000,NSE_FO|35001,NSE_EQ|INE002A01018"
JOURNALLED = {"postgres": 1_309, "timescale": 1_313}  # frames of collector `default`
PENDING = {"postgres": 163, "timescale": 161}  # of them
ARCHIVED = {"postgres": 317, "timescale": 315}  # ticks of the future on the dropped day


@pytest.fixture(params=ENGINES)
def engine_of_home(request: pytest.FixtureRequest) -> Engine:
    if request.param == "timescale" and timescaledb.find(DatabaseSettings().timescaledb_dir) is None:
        pytest.skip(NO_TIMESCALE)
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the files of the database are of Linux on x86-64")
    return request.param


@pytest.fixture
def old_home(engine_of_home: Engine) -> Iterator[Path]:
    """The home where it was made: it remembers the place of its export."""
    home = Path(f"/tmp/tickline-home-of-0002-{engine_of_home}")
    with home.with_suffix(".lock").open("ab") as lock:  # one run on this machine at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(home, ignore_errors=True)
        with tarfile.open(packed(engine_of_home)) as archive:
            archive.extractall("/tmp", filter="tar")
        server = home / "postgres"
        server_user.prepare_folder(server)
        status = server.stat()
        for path in [home, *home.rglob("*")]:
            owner = (status.st_uid, status.st_gid) if path.is_relative_to(server) else (os.getuid(), os.getgid())
            os.chown(path, *owner)
        yield home
        shutil.rmtree(home, ignore_errors=True)


def packed(engine: Engine) -> Path:
    """The home as it is in the repository."""
    return REPOSITORY / "tests" / "homes" / f"0002-{engine}.tar.xz"


def bars_of(conn: psycopg.Connection[Any], view: str) -> list[tuple[Any, ...]]:
    return conn.execute(
        "select instrument_key, bucket, open, high, low, close, volume, oi "
        f"from {view} join instruments using (instrument_id) where bucket < '2026-11-27' order by 1, 2"
    ).fetchall()


def bars_before(home: Path, engine: Engine, view: str) -> list[tuple[Any, ...]]:
    with (home / "before" / f"{view}-{engine}.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [
        (
            key,
            datetime.fromisoformat(bucket),
            *map(float, values[:4]),
            *(int(value) if value else None for value in values[4:]),
        )
        for key, bucket, *values in rows
    ]


def frames(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("select coalesce(sum(frames), 0) from tickline.ledger where collector = 'default'").fetchone()
    assert row is not None
    return int(row[0])


def test_home_of_an_earlier_version_is_upgraded_adds_up_and_goes_on(old_home: Path, engine_of_home: Engine) -> None:
    place = {"TICKLINE_HOME": str(old_home), "TICKLINE_ENGINE": engine_of_home}

    def run(*arguments: str) -> str:
        with Command(old_home, *arguments, **place) as command:
            code = command.process.wait(timeout=WITHIN_S)
            assert code == 0, command.text()[-2000:]
            return command.text()

    settings = load(DatabaseSettings, home=old_home, engine=engine_of_home, database_url=None)
    with Database.open(settings) as database:  # recovers from the kill, and serves all that follows
        assert f"schema {HEAD}" in run("db", "upgrade")
        with database.connect(autocommit=True) as conn:
            for view in ("bars_1m", "bars_5m", "best_bars_1m"):
                assert bars_of(conn, view) == bars_before(old_home, engine_of_home, view) != []
            said = run("verify")
            assert f"{PENDING[engine_of_home]} pending" in said and "it adds up" in said
            with Market(old_home, "--generate", "--instruments", "6", "--rate", "50") as market:
                environment = QUICK | market.settings | place | {"TICKLINE_UNIVERSE": KEYS}
                with Command(old_home, "start", **environment) as ingester:
                    wait_until(lambda: frames(conn) > JOURNALLED[engine_of_home] + 20)
                    ingester.stop()
            assert "it adds up" in run("verify")
            for view in ("bars_1m", "bars_5m", "best_bars_1m"):
                assert bars_of(conn, view) == bars_before(old_home, engine_of_home, view)
        ticks = run("ticks", "NSE_FO|35000", "--from", DROPPED, "--to", "2026-11-27", "--format", "csv")
        assert len(ticks.splitlines()) == 1 + ARCHIVED[engine_of_home]


@pytest.mark.parametrize("engine_of_home", ENGINES)
def test_settings_of_an_earlier_version_are_read(
    engine_of_home: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("TICKLINE_", "UPSTOX_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with tarfile.open(packed(engine_of_home)) as archive:
        file = archive.extractfile(f"tickline-home-of-0002-{engine_of_home}/before/dotenv")
        assert file is not None
        (tmp_path / ".env").write_bytes(file.read())
    assert load(Settings).collector == "default"
