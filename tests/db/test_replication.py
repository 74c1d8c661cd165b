"""The replica of the Compose profile `cluster`: its two scripts on a server with passwords, and `analytics` on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from polars.testing import assert_frame_equal
from psycopg import sql as psql
from psycopg.conninfo import make_conninfo

import analytics
from ingest.database import timescaledb
from ingest.database import upgrade as apply
from ingest.database.connections import Database
from ingest.database.embedded import SUPERUSER, embedded_server
from ingest.database.operations import programs
from ingest.database.queries import ENGINES
from ingest.database.server import postmaster
from ingest.database.server.roles import OWNER, READER
from ingest.database.server.user import prepare_folder, server_uid
from ingest.database.settings import DatabaseSettings, Engine
from tests.cluster import DEPLOY
from tests.conftest import NO_TIMESCALE
from tests.db.test_retention import FIRST, add_ticks, refresh
from tests.fault.harness import wait_until
from tests.simulated import free_port

SCRIPTS = DEPLOY / "cluster"
ODD = "p@ss:/?#[]!$&'()*+,;=% \"\\"


def run(script: str, *words: str, uid: int | None = None, **given: str) -> str:
    place = programs.find("pg_basebackup", 18).parent
    environment = {"PATH": f"{place}:{os.environ['PATH']}", **given}
    command = ["sh", str(SCRIPTS / script), *words]
    done = subprocess.run(command, env=environment, user=uid, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_analytics(url: str, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks and bars that are stored now are read on the replica as on the primary."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("insert into instruments (instrument_key) values ('NSE_EQ|A')")
        add_ticks(conn, FIRST, count=300)
        refresh(conn, FIRST, FIRST + timedelta(days=1))
    monkeypatch.setenv("TICKLINE_DATABASE_URL", url)
    expected = [analytics.ticks("NSE_EQ|A"), analytics.bars("NSE_EQ|A")]
    assert all(frame.height for frame in expected)
    with psycopg.connect(there, autocommit=True) as conn:
        assert conn.execute("select pg_is_in_recovery()").fetchone() == (True,)
        bars = "select count(*) from bars_1m"
        wait_until(lambda: conn.execute(bars).fetchone() == (expected[1].height,))
    monkeypatch.setenv("TICKLINE_READ_DATABASE_URL", there)
    for frame, found in zip(expected, [analytics.ticks("NSE_EQ|A"), analytics.bars("NSE_EQ|A")], strict=True):
        assert_frame_equal(frame, found)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ENGINES)
def test_replica_is_copied_and_follows_with_a_password_of_its_own(
    kind: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "timescale" and timescaledb.find(DatabaseSettings().timescaledb_dir) is None:
        pytest.skip(NO_TIMESCALE)
    home, port = Path(tempfile.mkdtemp(prefix="tl-")), free_port()
    listens = {"listen_addresses": "127.0.0.1", "port": str(port), "fsync": "off"}
    replica = home / "replica"
    replica.mkdir()
    prepare_folder(home)
    data = replica / "18" / "docker"
    try:
        given = {"use_timescaledb": kind == "timescale", "wal_level": "replica", "settings": listens}
        with embedded_server(home / "server", **given) as server:
            apply.upgrade(Database(server.url(), server), kind)
            hba = server.root / "data" / "pg_hba.conf"
            hba.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
            boss = server.url("postgres", user=SUPERUSER)
            with psycopg.connect(boss, autocommit=True) as admin:
                admin.execute(psql.SQL("create role boss superuser login password {}").format(psql.Literal(ODD)))
                admin.execute("select pg_reload_conf()")
            place = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "boss", "PGDATABASE": "postgres"}
            given = place | {"PGPASSWORD": ODD, "REPLICA": str(replica), "PGOWNER": str(server_uid())}
            assert "let replicator in" in run("replication.sh", **given)
            assert run("replication.sh", **given) == "replication: the replica may follow\n"
            password = replica / "replicator.pgpass"
            assert (password.stat().st_mode & 0o777, password.stat().st_uid) == (0o600, server_uid())
            follow = {"PRIMARY": "127.0.0.1", "PRIMARY_PORT": str(port), "PGDATA": str(data)}
            follow["PGPASSFILE"] = str(password)
            (replica / "18" / "docker.new").mkdir(parents=True)  # of a copy that was cut off
            shutil.chown(replica / "18", server_uid())
            shutil.chown(replica / "18" / "docker.new", server_uid())
            said = run("replica.sh", "echo", "it", "runs", uid=server_uid(), **follow)
            assert said == "replica: copied the server 127.0.0.1\nit runs\n"
            assert run("replica.sh", "echo", "it", "runs", uid=server_uid(), **follow) == "it runs\n"
            conf, own_port = data / "postgresql.auto.conf", free_port()
            assert password.read_text().split(":")[4].strip() not in conf.read_text()
            with conf.open("a") as text:
                text.write(f"unix_socket_directories = '{replica}'\nhot_standby_feedback = on\nport = {own_port}\n")
            postmaster.start(data, replica / "log", replica, ready_seconds_max=60)
            try:
                with psycopg.connect(boss, autocommit=True) as admin:
                    streams = "select usename from pg_stat_replication where state = 'streaming'"
                    wait_until(lambda: admin.execute(streams).fetchall() == [("replicator",)])
                    slots = "select slot_name, active from pg_replication_slots"
                    assert admin.execute(slots).fetchall() == [("replica", True)]
                    admin.execute("create table seen as select 1 as one")
                    # It may follow, and nothing else.
                    login: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": "replicator"}
                    login["passfile"] = str(password)
                    with psycopg.connect("dbname=postgres", autocommit=True, **login) as other:
                        with pytest.raises(psycopg.errors.InsufficientPrivilege):
                            other.execute("select * from seen")
                there = make_conninfo(server.url(user=READER), host=str(replica), port=own_port)
                check_analytics(server.url(user=OWNER), there, monkeypatch)
            finally:
                postmaster.stop(data)
    finally:
        shutil.rmtree(home, ignore_errors=True)
