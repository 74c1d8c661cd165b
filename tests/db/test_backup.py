"""Backup and restore: what is refused, whose the restored database is, and base backups of the embedded server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from ingest.database import timescaledb
from ingest.database.connections import HEAD, Database
from ingest.database.embedded import SUPERUSER, embedded_server
from ingest.database.operations import programs
from ingest.database.operations.backup import backup, restore
from ingest.database.operations.status import status
from ingest.database.queries import query
from ingest.database.server.roles import READER
from ingest.database.server.user import server_uid
from ingest.database.settings import DatabaseSettings, Engine
from ingest.errors import ConfigError, SchemaError, StoreError
from tests.conftest import Template
from tests.db.test_retention import FIRST, add_ticks, all_bars, refresh
from tests.engines import on_one_engine
from tests.fault.harness import wait_until

Connection = psycopg.Connection[Any]
COUNTS = "select (select count(*) from ticks), (select count(*) from instruments), (select count(*) from bars_5m)"


def as_superuser(database: Database, template: Template, engine: Engine | None = None) -> Database:
    """The same database; TimescaleDB's catalog is restored by a superuser only."""
    return Database(make_conninfo(database.url, user=template.superuser), None, engine)


def first_relation(database: Database) -> Any:
    with database.connect() as connection:
        return connection.execute(query("status/first_relation")).fetchone()


@pytest.fixture
def filled(database: Database, conn: Connection) -> Database:
    """Two instruments with ticks, and bars of them."""
    for key in ("NSE_EQ|A", "NSE_FO|B"):
        conn.execute("insert into instruments (instrument_key) values (%s)", (key,))
    add_ticks(conn, FIRST, count=300)
    refresh(conn, FIRST, FIRST.replace(day=FIRST.day + 1))
    return database


@pytest.fixture
def file(filled: Database, tmp_path: Path) -> Path:
    """A backup of it."""
    path = tmp_path / "backup.dump"
    shown: list[str] = []
    assert backup(filled, path, show=shown.append) == path.stat().st_size
    assert "tickline.ledger" in shown
    assert path.stat().st_mode & 0o077 == 0
    assert [one.name for one in tmp_path.iterdir()] == ["backup.dump"]
    return path


def test_restore_into_an_empty_database_has_all_of_it(
    file: Path, filled: Database, conn: Connection, empty_database: Database, template: Template, engine: Engine
) -> None:
    target = as_superuser(empty_database, template)
    found = restore(target, file)
    assert (found.engine, found.revision) == (engine, HEAD)
    assert target.engine == engine
    with target.connect(autocommit=True) as restored:
        assert restored.execute(COUNTS).fetchone() == conn.execute(COUNTS).fetchone()
        assert all_bars(restored) == all_bars(conn)
        refresh(restored, FIRST, FIRST.replace(day=FIRST.day + 1))
        assert all_bars(restored) == all_bars(conn)
        add_ticks(restored, FIRST.replace(day=FIRST.day + 3), count=5)  # a new chunk or partition
    ours, theirs = status(filled), status(target)
    assert [(job.job, job.relation, job.every) for job in ours.jobs] == [
        (job.job, job.relation, job.every) for job in theirs.jobs
    ]
    with pytest.raises(ConfigError, match=r"is not empty, it has 'public\..*restore into a new one"):
        restore(target, file)


def test_restore_that_fails_leaves_the_database_empty_and_may_be_repeated(
    file: Path, empty_database: Database, template: Template, tmp_path: Path
) -> None:
    target = as_superuser(empty_database, template)
    whole = file.read_bytes()
    damaged = tmp_path / "damaged.dump"
    (at,) = [whole.rindex(b"\x00\x01", 0, len(whole) * 3 // 4)]
    damaged.write_bytes(whole[:at] + bytes(200) + whole[at + 200 :])
    with pytest.raises(StoreError, match=r"pg_restore failed for '.*damaged.dump': "):
        restore(target, damaged)
    assert first_relation(target) is None
    with target.connect() as connection:
        assert connection.execute("select current_setting('timescaledb.restoring', true)").fetchone()[0] != "on"  # type: ignore[index]
    restore(target, file)
    assert first_relation(target) is not None


@on_one_engine
def test_restore_of_the_other_engine_is_refused(file: Path, empty_database: Database, template: Template) -> None:
    other: Engine = "timescale" if template.engine == "postgres" else "postgres"
    with pytest.raises(ConfigError, match=f"uses engine '{template.engine}' but settings say '{other}'"):
        restore(as_superuser(empty_database, template, other), file)


@pytest.mark.parametrize("engine", ["timescale"], indirect=True)
def test_restore_of_timescaledb_by_an_owner_names_the_superuser(file: Path, empty_database: Database) -> None:
    with pytest.raises(ConfigError, match="'tickline_owner' is no superuser"):
        restore(empty_database, file)
    assert first_relation(empty_database) is None


@on_one_engine
def test_file_that_is_no_backup_is_refused(empty_database: Database, template: Template, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("-- a dump in SQL")
    for path, said in ((text, "is no backup in PostgreSQL's custom format"), (tmp_path / "no", "cannot be read")):
        with pytest.raises(ConfigError, match=said):
            restore(as_superuser(empty_database, template), path)
    with empty_database.connect(autocommit=True) as connection:
        connection.execute("create table other (n int)")
    program = programs.find("pg_dump", 18)
    foreign = tmp_path / "foreign.dump"
    programs.run(program, empty_database.url, "--format=custom", f"--file={foreign}", file=foreign)
    with pytest.raises(ConfigError, match="holds no tickline database"):
        restore(as_superuser(empty_database, template), foreign)
    with pytest.raises(SchemaError, match="nothing to back up"):
        backup(empty_database, foreign)


@on_one_engine
def test_commands_back_up_and_restore(
    filled: Database, empty_database: Database, template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest.cli import group

    path = str(tmp_path / "backup.dump")
    monkeypatch.setenv("TICKLINE_DATABASE_URL", filled.url)
    assert CliRunner().invoke(group, ["db", "backup", path]).stdout.startswith(path)
    ran = CliRunner().invoke(group, ["db", "backup", str(tmp_path / "no" / "backup.dump")])
    assert isinstance(ran.exception, ConfigError) and "name another file" in str(ran.exception)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", as_superuser(empty_database, template).url)
    ran = CliRunner().invoke(group, ["db", "restore", path])
    advice = "run `tickline db upgrade --with-roles`, so that the roles of this server may use it"
    assert ran.stdout == f"restored: schema {HEAD}, engine {filled.engine}: {advice}\n", ran.exception
    assert CliRunner().invoke(group, ["db", "upgrade", "--with-roles"]).exit_code == 0
    with psycopg.connect(make_conninfo(empty_database.url, user=READER)) as reader, filled.connect() as ours:
        assert reader.execute(COUNTS).fetchone() == ours.execute(COUNTS).fetchone()


def test_password_is_in_no_argument_of_a_program(tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:5432/ticks?sslmode=disable"
    echo = shutil.which("echo")
    assert echo is not None
    (said,) = programs.output(Path(echo), url, file=tmp_path)
    assert "hunter2" not in said and "host=127.0.0.1" in said and "user=me" in said
    _, environment = programs._address(url)
    assert environment == {"PGPASSWORD": "hunter2"}
    with pytest.raises(ConfigError, match="URL has 'sslpassword'"):
        next(programs.output(Path(echo), f"{url}&sslpassword=hunter2", file=tmp_path))


def test_program_that_is_too_old_is_passed_over_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.4'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.find("pg_dump", 18).parent.name == "bin"  # the package's own
    with pytest.raises(ConfigError, match=r"for a server of PostgreSQL 99 .*pg_dump of version 15.*version 99"):
        programs.find("pg_dump", 99)
    with pytest.raises(ConfigError, match="for a server of PostgreSQL 16"):
        programs.find("pg_dump", 16, exact_below=19)


@pytest.fixture
def second_home(tmp_path: Path, home: Path) -> Iterator[Path]:
    folder = home.with_name(f"{home.name}-2")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(timescaledb.find(DatabaseSettings().timescaledb_dir) is None, reason="TimescaleDB not found")
@pytest.mark.parametrize("engine", ["timescale"], indirect=True)
def test_restore_into_a_new_home_belongs_to_its_owner_and_is_read_by_its_reader(
    file: Path, filled: Database, home: Path
) -> None:
    expected = filled.connect().execute(COUNTS).fetchone()
    with embedded_server(home) as server:
        database = Database(server.url(), server)
        restore(database, file)
        with psycopg.connect(server.url(user=SUPERUSER)) as admin:
            others = admin.execute(
                "select relation.oid::regclass::text from pg_class as relation "
                "where relation.relowner <> 'tickline_owner'::regrole and relation.relkind in ('r', 'p', 'v', 'S') "
                "and relation.relnamespace in ('public'::regnamespace, 'tickline'::regnamespace, "
                "'_timescaledb_internal'::regnamespace) and not exists (select from pg_depend as tie "
                "where tie.objid = relation.oid and tie.deptype = 'e')"
            ).fetchall()
            assert others == []
            owners = admin.execute("select distinct owner::text from timescaledb_information.jobs where job_id >= 1000")
            assert owners.fetchall() == [("tickline_owner",)]
        with psycopg.connect(database.reader_url) as reader:
            assert reader.execute(COUNTS).fetchone() == expected
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute("delete from ticks")
        with database.connect(autocommit=True) as connection:
            add_ticks(connection, FIRST, count=3)
            connection.execute("select compress_chunk(chunk) from show_chunks('ticks') as chunk")


def test_base_backup_of_the_embedded_server_works_when_asked_for(home: Path, second_home: Path, tmp_path: Path) -> None:
    program = programs.find("pg_basebackup", 18)
    with embedded_server(home, use_timescaledb=False, wal_level="replica") as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("create table kept as select generate_series(1, 1000) as n")
        url, data = server.url(user=SUPERUSER), second_home / "postgres" / "data"
        data.parent.mkdir(parents=True, mode=0o700)
        programs.run(program, url, f"--pgdata={data}", "--checkpoint=fast", file=data)
        programs.run(programs.find("pg_verifybackup", 18), None, str(data), file=data)
        database = Database(server.url(), server)
        assert (status(database).replication.wal_level, status(database).slots) == ("replica", [])
        # A standby's slot: named, with what it keeps, whether somebody reads it or not.
        receive = [str(programs.find("pg_receivewal", 18)), f"--dbname={url}", "--slot=standby", "--no-password"]
        subprocess.run([*receive, "--create-slot"], check=True, capture_output=True)
        log = tmp_path / "log"
        log.mkdir()
        with subprocess.Popen([*receive, f"--directory={log}"], stderr=subprocess.PIPE) as process:
            as_admin = Database(url, server)
            wait_until(lambda: any(one.active and one.kept_bytes is not None for one in status(as_admin).slots))
            assert [one.name for one in status(database).replicas] == ["pg_receivewal"]
            process.terminate()
            process.communicate(timeout=180)
        wait_until(lambda: not status(database).replicas)
        (slot,) = status(database).slots
        assert (slot.name, slot.kind, slot.active) == ("standby", "physical", False)
    uid = server_uid()
    for path in (data.parent, data, *data.rglob("*")):
        os.chown(path, uid, -1)
    with (
        embedded_server(second_home, use_timescaledb=False) as server,
        psycopg.connect(server.url()) as connection,
    ):
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)
        assert connection.execute("show wal_level").fetchone() == ("minimal",)
