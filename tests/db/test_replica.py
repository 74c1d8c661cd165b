"""Reading on a streaming replica: the same rows, a replica that lags or is gone, and what a reader may do there."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal
from psycopg.conninfo import make_conninfo

import analytics
from analytics.page.database import Store
from analytics.read.export import export_day
from analytics.signals.find import _may_store
from ingest.cli import group
from ingest.database import timescaledb
from ingest.database import upgrade as apply
from ingest.database.connections import Database, connect
from ingest.database.embedded import SUPERUSER, EmbeddedServer, embedded_server
from ingest.database.pool import Pool
from ingest.database.questions import Questions
from ingest.database.server import reading
from ingest.database.server.roles import OWNER, READER, WRITER
from ingest.database.server.standby import standing
from ingest.database.settings import DatabaseSettings, Engine, load
from ingest.doctor.findings import State
from ingest.doctor.installation import Installation
from ingest.doctor.server import check_replica
from ingest.errors import Retryable
from ingest.live.observe.replicas import Replicas
from tests.conftest import NO_TIMESCALE, _ram
from tests.db.test_retention import FIRST, add_ticks, refresh
from tests.db.test_role_attacks import AS_OWNER, AS_SUPERUSER
from tests.engines import on_one_engine
from tests.fault.harness import wait_until
from tests.standby import Standby, standby_of

pytestmark = on_one_engine
KEY = "NSE_EQ|A"
DAY = FIRST


@pytest.fixture(scope="module")
def primary(engine: Engine) -> Iterator[EmbeddedServer]:
    """A server of its own that may be copied, with two instruments and their ticks."""
    files = DatabaseSettings().timescaledb_dir
    if engine == "timescale" and timescaledb.find(files) is None:
        pytest.skip(NO_TIMESCALE)
    home = Path(tempfile.mkdtemp(prefix="tl-", dir=_ram()))
    try:
        with embedded_server(
            home,
            timescaledb_dir=files,
            use_timescaledb=engine == "timescale",
            wal_level="replica",
            settings={"fsync": "off"},
        ) as server:
            apply.upgrade(Database(server.url(), server), engine)
            with psycopg.connect(server.url(user=WRITER), autocommit=True) as conn:
                for key in (KEY, "NSE_FO|B"):
                    conn.execute("insert into instruments (instrument_key) values (%s)", (key,))
                add_ticks(conn, FIRST, count=300)
            with psycopg.connect(server.url(), autocommit=True) as conn:
                refresh(conn, FIRST, FIRST + timedelta(days=1))
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def standby(primary: EmbeddedServer) -> Iterator[Standby]:
    with standby_of(primary) as running:
        yield running


@pytest.fixture
def database(primary: EmbeddedServer, standby: Standby, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The settings of a machine that reads on the replica, and what they mean."""
    standby.catch_up()
    monkeypatch.setattr(reading, "ASKED_S", 0.0)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", primary.url(user=WRITER))
    monkeypatch.setenv("TICKLINE_READ_DATABASE_URL", standby.url())
    return placed()


def placed(**given: Any) -> Database:
    return Database.place(load(DatabaseSettings, **given))


def where(database: Database) -> tuple[Any, ...] | None:
    """Who reads where: the login, and whether it is a standby."""
    with connect(database.reader_url) as connection:
        return connection.execute("select session_user::text, pg_is_in_recovery()").fetchone()


def run(*words: str) -> str:
    ran = CliRunner().invoke(group, words)
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran.output


def write(primary: EmbeddedServer, statement: str = "update days set reconciled_at = now()") -> None:
    with psycopg.connect(primary.url(user=WRITER), autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def paused(database: Database, primary: EmbeddedServer, standby: Standby) -> Iterator[Database]:
    """The replica no longer replays, and there is something to replay."""
    standby.pause()
    write(primary, "insert into days (day, reconciled_at) values ('2020-01-01', now()) on conflict do nothing")
    write(primary, "update days set reconciled_at = now()")
    with standby.connect() as connection:
        wait_until(lambda: not standing(connection).is_current)
    yield database
    standby.resume()


@pytest.fixture
def killed(database: Database, standby: Standby) -> Iterator[Database]:
    standby.kill()
    yield database
    standby.start()


def test_rows_of_the_replica_are_those_of_the_primary(database: Database, primary: EmbeddedServer) -> None:
    assert where(database) == (READER, True)
    for read in (analytics.ticks, analytics.bars):
        rows = read(KEY, start=FIRST)
        assert rows.height
        assert_frame_equal(rows, read(KEY, start=FIRST, database=primary.url()))
    for words in (["sql", "select pg_is_in_recovery() as is_standby"], ["bars", KEY], ["ticks", KEY], ["spikes", KEY]):
        assert run(*words, "--format", "csv").splitlines()[0]
    assert run("sql", "select pg_is_in_recovery() as is_standby", "--format", "csv").split() == ["is_standby", "true"]


def test_day_is_exported_from_the_replica_once_it_has_all_of_it(
    database: Database, primary: EmbeddedServer, tmp_path: Path
) -> None:
    write(primary, "delete from tickline.alembic_version where false")
    file, rows = export_day(DAY, tmp_path, database)
    assert file.exists()
    with psycopg.connect(primary.url()) as connection:
        noted = connection.execute("select exported_ticks from days where exported_ticks is not null").fetchall()
        count = connection.execute("select count(*) from ticks where ts::date = %s", (DAY,)).fetchone()
    assert noted == [(rows,)] and count == (rows,)
    assert run("reconcile", "--day", str(DAY), "--format", "csv").startswith("instrument_key")


def test_export_waits_for_a_replica_and_then_says_that_it_is_behind(
    paused: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CAUGHT_UP_S", 0.05)
    with pytest.raises(Retryable, match="has not replayed what the primary had 0.05 s ago.*TICKLINE_READ_FALLBACK"):
        paused.complete_reader_url()
    assert "port=5432" in placed(read_fallback=True).complete_reader_url()


def test_idle_replica_is_not_behind(database: Database, standby: Standby) -> None:
    with standby.connect() as connection:
        found = standing(connection)
        age_s = wait_until(lambda: (standing(connection).replay_age_s or 0.0) > 0.01)
    assert age_s and (found.is_current, found.lag_s, found.reasons()) == (True, 0.0, [])
    assert where(placed(read_lag_s_max=0.001)) == (READER, True)


def test_replica_that_is_too_far_behind_is_said_and_read_no_more(paused: Database, standby: Standby) -> None:
    assert where(paused) == (READER, True)  # less than a minute
    with pytest.raises(Retryable, match=r"is \d+ s behind its primary \(replay is paused\), more than 0.001 s: see "):
        where(placed(read_lag_s_max=0.001))
    assert where(placed(read_lag_s_max=0)) == (READER, True)
    with standby.connect() as connection:
        found = standing(connection)
    assert found.text().endswith("s behind, replay is paused") and (found.lag_s or 0.0) > 0.0


def test_reading_falls_back_to_the_primary_as_the_same_reader(
    paused: Database, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    database = placed(read_lag_s_max=0.001, read_fallback=True)
    assert where(database) == where(database) == (READER, False)
    assert caplog.text.count("reading from the primary") == 1
    standby.resume()
    wait_until(lambda: where(database) == (READER, True))


def test_replica_behind_is_in_status_and_doctor(paused: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLINE_READ_LAG_S_MAX", "0.001")
    (line,) = (line for line in run("db", "status").splitlines() if line.startswith("reading "))
    assert "behind, replay is paused (" in line and "more than 0.001 s" in line
    known = json.loads(run("db", "status", "--format", "json"))["reading"]
    assert known["is_standby"] and known["lag_bytes"] > 0 and known["lag_s"] > 0
    installation = Installation(lambda _: None)
    ((state, text, _),) = check_replica(installation)
    installation.close()
    assert state is State.WARNING and "replay is paused" in text and "reading fails" in text


def test_replica_that_was_killed_is_said_and_reading_falls_back_if_asked(
    killed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = CliRunner().invoke(group, ["sql", "select 1"])
    assert isinstance(ran.exception, Retryable)
    assert "does not answer" in str(ran.exception) and "TICKLINE_READ_FALLBACK=true" in str(ran.exception)
    assert "does not answer" in run("db", "status")
    monkeypatch.setenv("TICKLINE_READ_FALLBACK", "true")
    assert run("sql", "select pg_is_in_recovery() as is_standby", "--format", "csv").split()[-1] == "false"
    assert "; reading from the primary" in run("db", "status")


def test_page_moves_to_the_primary_and_back(database: Database, standby: Standby) -> None:
    async def look() -> None:
        async with Store(placed(read_fallback=True)) as store:
            urls = []
            for change in (lambda: None, standby.kill, standby.start):
                await asyncio.to_thread(change)
                await until_answered(store)
                urls.append(store._url)
            assert urls[0] == urls[2] != urls[1]

    asyncio.run(look())


async def until_answered(store: Store) -> None:
    """A question whose connection was cut is asked again, as the page does."""
    while True:
        try:
            await store.rows("underlyings", {"day": DAY})
        except Retryable:
            await asyncio.sleep(0.05)
        else:
            return


def test_ingester_sees_a_replica_that_leaves(primary: EmbeddedServer, standby: Standby, database: Database) -> None:
    async def look(change: Callable[[], None] = lambda: None) -> tuple[list[str], list[str]]:
        await asyncio.to_thread(change)
        seen = await replicas.look()
        return [one.name for one in seen], [one.error for one in seen if one.error]

    async def watch() -> None:
        nonlocal replicas
        async with Pool(primary.url(user=SUPERUSER)) as pool:
            replicas = Replicas(Questions(pool, lambda: True), placed().reading_place)
            names, errors = await look()
            assert (len(names), errors) == (2, [])
            names, errors = await look(standby.kill)
            assert len(names) == 2 and "has left its primary" in errors[0] and "does not answer" in errors[1]
            names, errors = await look(standby.start)
            while errors:
                await asyncio.sleep(0.05)
                names, errors = await look()

    replicas: Any = None
    asyncio.run(watch())


def test_reader_of_another_server_is_told_that_it_is_no_copy(
    database: Database, template: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKLINE_READ_DATABASE_URL", template.url)
    assert "is no copy of the primary: correct TICKLINE_READ_DATABASE_URL" in run("db", "status")


def test_old_name_of_the_setting_works(database: Database, standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TICKLINE_READ_DATABASE_URL")
    monkeypatch.setenv("TICKLINE_READER_DATABASE_URL", standby.url())
    assert where(placed()) == (READER, True)
    shown = json.loads(run("config", "show", "--format", "json"))
    (row,) = (row for row in shown if row["setting"] == "TICKLINE_READ_DATABASE_URL")
    assert row["source"] == "environment" and str(standby.root) not in row["value"]


def test_stolen_login_of_a_reader_only_reads_on_the_replica(database: Database, standby: Standby) -> None:
    """Nothing can be written on a standby; what concerns the server itself needs a right that no reader has."""
    of_the_server = {
        "promotion": "select pg_promote()",
        "pause": "select pg_wal_replay_pause()",
        "resume": "select pg_wal_replay_resume()",
        "slot": "select pg_create_physical_replication_slot('stolen')",
        "log position": "select pg_create_restore_point('x')",
        "sessions": "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()",
        "login on the primary": "show primary_conninfo",
        "the same in its file": "select pg_read_file('postgresql.auto.conf')",
    }
    refused = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
    with connect(standby.url(), autocommit=True) as reader:
        for text in (AS_OWNER | AS_SUPERUSER | of_the_server).values():
            statement = text.format(reader=READER, database='"tickline"').encode()
            with pytest.raises(refused), reader.transaction(force_rollback=True):
                if statement.startswith(b"copy") and statement.endswith(b"stdin"):
                    with reader.cursor().copy(statement) as copy:
                        copy.write("NSE_EQ|9\n")
                else:
                    reader.execute(statement)
        assert reader.execute("select pg_is_in_recovery(), pg_is_wal_replay_paused()").fetchone() == (True, False)
        # The reader does not see how the replica logs in to its primary.
        assert reader.execute("select count(conninfo) from pg_stat_wal_receiver").fetchone() == (0,)


def test_stolen_login_of_a_reader_cannot_replicate(primary: EmbeddedServer) -> None:
    for role in (READER, WRITER, OWNER):
        with pytest.raises(psycopg.OperationalError, match="permission denied to start WAL sender"):
            psycopg.connect(make_conninfo(primary.url(user=role), replication="true"))


def test_writer_stores_nothing_on_a_standby(standby: Standby) -> None:
    with connect(standby.url(WRITER), autocommit=True) as connection:
        assert not _may_store(connection)
