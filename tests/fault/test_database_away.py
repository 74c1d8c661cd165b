"""The database goes away in every way it can: nothing is lost, nothing is doubled, and it catches up by itself."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql as psql
from psycopg.conninfo import conninfo_to_dict

from ingest.database import upgrade as apply
from ingest.database.connections import HEAD, Database
from ingest.database.embedded import EmbeddedServer, embedded_server
from ingest.database.server import postmaster
from ingest.database.settings import DatabaseSettings, Engine
from ingest.model.records import Position
from ingest.store.retrying_writer import Abandoned
from ingest.store.writer import Writer
from tests.conftest import NO_JOBS, Template
from tests.engines import on_one_engine
from tests.fault.harness import (
    WITHIN_S,
    Ingester,
    Market,
    RecordProperty,
    backlog_bytes,
    check_account,
    check_ticks,
    committed,
    journal_end,
    quick_writer,
    rows,
    stream_folder,
    wait_until,
)
from tests.fault.proxy import Proxy

TICKS_PER_S = 1_000
CATCH_UP_S_MAX = 120.0
AWAY_S = [pytest.param(1.5, TICKS_PER_S, id="short"), pytest.param(60.0, 10_000, id="soak", marks=pytest.mark.soak)]


@pytest.fixture
def market(home: Path, request: pytest.FixtureRequest) -> Iterator[Market]:
    ticks_per_s = getattr(request, "param", TICKS_PER_S)
    with Market(home, "--generate", "--instruments", "200", "--rate", str(ticks_per_s)) as market:
        yield market


@pytest.fixture
def proxy(database: Database, home: Path) -> Iterator[Proxy]:
    with Proxy(database.url, home / "p") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[EmbeddedServer]:
    """A server that may be stopped and killed, as durable as in production."""
    settings = DatabaseSettings()
    is_timescale = engine == "timescale"
    # Not below pytest's own folder: each run of pytest takes the server's user the right to enter that.
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    with embedded_server(
        folder,
        timescaledb_dir=settings.timescaledb_dir,
        use_timescaledb=is_timescale,
        settings=NO_JOBS if is_timescale else {},
    ) as server:
        apply.upgrade(Database(server.url(), None), engine)
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def mortal(server: EmbeddedServer, engine: Engine) -> Iterator[Database]:
    """A fresh database on it."""
    template = Template(engine, server.url())
    with Database(template.create("mortal"), None) as database:
        yield database
    server.ensure_running()
    template.drop("mortal")


def forget(name: str, value: object) -> None:
    """Record nothing."""


@contextmanager
def recording(
    url: str, database: Database, template: Template, home: Path, market: Market, record: RecordProperty = forget
) -> Iterator[Ingester]:
    """Record while the block does its harm; catch up, stop, and hold everything against everything.

    `record` takes the figures of it, for the table of the long run.
    """
    with Ingester(home, market, url) as ingester:
        wait_until(lambda: committed(database)[1] > 2**18)
        yield ingester
        behind, began = backlog_bytes(database, ingester.folder), time.monotonic()
        wait_until(passed(database, journal_end(ingester.folder)), within_s=CATCH_UP_S_MAX)
        took_s = time.monotonic() - began
        ingester.stop()
        assert "Traceback" not in ingester.text()
    ticks = check_account(database, stream_folder(home))
    assert check_ticks(database, template, home) == ticks
    for name, figure in (("ticks", ticks), ("backlog_bytes", behind), ("catch_up_s", round(took_s, 1))):
        record(name, figure)


def passed(database: Database, position: Position) -> Callable[[], bool]:
    """Return whether the ledger has come to a position. To be live again is too much to ask of a busy machine."""

    def has_come() -> bool:
        segment, offset = committed(database)
        return not Position(segment, offset) < position

    return has_come


def record_on(ingester: Ingester, seconds: float) -> None:
    """Let so much market time pass into the journal."""
    before, began = journal_end(ingester.folder), time.monotonic()
    # The length of the outage is what is tested.
    wait_until(lambda: time.monotonic() - began >= seconds and before < journal_end(ingester.folder))


@on_one_engine
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("away_s", "market"), AWAY_S, indirect=["market"])
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_server_away_loses_and_doubles_nothing(
    server: EmbeddedServer,
    mortal: Database,
    template: Template,
    home: Path,
    market: Market,
    killed: bool,
    away_s: float,
    record_property: RecordProperty,
) -> None:
    with recording(mortal.url, mortal, template, home, market, record_property) as ingester:
        if killed:
            server.kill()
        else:
            postmaster.stop(server.root / "data")
        ingester.wait_for("trying again")
        record_on(ingester, away_s)
        server.ensure_running()
        ingester.wait_for("database is back")


@on_one_engine
def test_server_restarted_again_and_again_loses_and_doubles_nothing(
    server: EmbeddedServer, mortal: Database, template: Template, home: Path, market: Market
) -> None:
    with recording(mortal.url, mortal, template, home, market) as ingester:
        for _ in range(2):
            back = ingester.text().count("database is back")
            postmaster.stop(server.root / "data")
            server.ensure_running()
            wait_until(lambda back=back: ingester.text().count("database is back") > back)


@on_one_engine
def test_failover_to_a_standby_that_lagged_writes_what_it_lost_again(
    server: EmbeddedServer, mortal: Database, template: Template, home: Path, market: Market
) -> None:
    """The server comes back as it was some batches ago."""
    data, lagging = server.root / "data", server.root / "standby"
    postmaster.stop(data)
    subprocess.run(["cp", "-a", str(data), str(lagging)], check=True)
    server.ensure_running()
    with recording(mortal.url, mortal, template, home, market) as ingester:
        postmaster.stop(data)
        shutil.rmtree(data)
        lagging.rename(data)
        server.ensure_running()
        ingester.wait_for("they are written again from the journal")
        ingester.wait_for("database is back")


@on_one_engine
def test_connection_cut_at_each_step_of_a_batch_loses_and_doubles_nothing(
    database: Database, template: Template, home: Path, market: Market, proxy: Proxy
) -> None:
    """In the COPY at several depths, before the commit, and after it, when only the ledger knows."""
    traps = [
        *(lambda offset=offset: proxy.cut_in_copy(offset) for offset in (0, 1, 600, 5_000)),
        proxy.cut_before_commit,
        proxy.cut_after_commit,
        proxy.cut_after_commit,
    ]
    with recording(proxy.url, database, template, home, market) as ingester:
        for lay in traps:
            back = ingester.text().count("database is back")
            assert lay().wait(WITHIN_S)
            wait_until(lambda back=back: ingester.text().count("database is back") > back)
    assert "batch was committed before" in ingester.text()


@on_one_engine
def test_connection_that_only_we_know_is_lost_is_taken_over(
    database: Database, template: Template, home: Path, market: Market, proxy: Proxy
) -> None:
    """The server still holds the collector's lock for the old connection, as after a lost network."""
    with Ingester(home, market, proxy.url) as ingester:
        wait_until(lambda: committed(database)[1] > 2**18)
        assert proxy.cut(tells_server=False)
        ingester.wait_for("database is back")
        wait_until(passed(database, journal_end(ingester.folder)))
        ingester.stop()
    check_account(database, stream_folder(home))
    check_ticks(database, template, home)


@on_one_engine
def test_silent_database_holds_up_nothing_but_the_writer(
    database: Database, template: Template, home: Path, market: Market, proxy: Proxy
) -> None:
    with recording(proxy.url, database, template, home, market) as ingester:
        proxy.pause()
        record_on(ingester, 1.5)
        proxy.resume()


@on_one_engine
def test_read_only_database_is_waited_for(database: Database, template: Template, home: Path, market: Market) -> None:
    name = str(conninfo_to_dict(database.url)["dbname"])
    read_only = psql.SQL("alter database {} set default_transaction_read_only = {}")
    with template.admin() as admin, recording(database.url, database, template, home, market) as ingester:
        admin.execute(read_only.format(psql.Identifier(name), psql.Literal("on")))
        end_sessions(admin, name)
        ingester.wait_for("25006")
        record_on(ingester, 1.0)
        admin.execute(read_only.format(psql.Identifier(name), psql.Literal("off")))
        ingester.wait_for("database is back")


@on_one_engine
def test_schema_that_became_too_old_is_waited_for(
    database: Database, template: Template, home: Path, market: Market
) -> None:
    """As after a restore from an old backup: the recording goes on, and is written after the upgrade."""
    name = str(conninfo_to_dict(database.url)["dbname"])
    revise = "update tickline.alembic_version set version_num = %s"
    with (
        template.admin() as admin,
        database.connect(autocommit=True) as connection,
        recording(database.url, database, template, home, market) as ingester,
    ):
        connection.execute(revise, ("0000",))
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> %s",
            (name, connection.info.backend_pid),
        )
        ingester.wait_for(f"older than this program's '{HEAD}': run `tickline db upgrade`")
        record_on(ingester, 1.0)
        connection.execute(revise, (HEAD,))
        ingester.wait_for("database is back")


def end_sessions(admin: psycopg.Connection[object], name: str) -> None:
    """End a database's sessions, as a failover does."""
    admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


@on_one_engine
def test_row_that_the_database_rejects_is_kept_aside_and_the_others_are_written(
    database: Database, home: Path, market: Market
) -> None:
    """A third of the frames has one row that a check refuses; the account still adds up."""
    with database.connect(autocommit=True) as connection:
        # The partitions first: one that is made later would lack the constraint, and not be taken.
        connection.execute("select tickline.ensure_partitions(now() - interval '7 days', now() + interval '1 day')")
        connection.execute(
            "create function refuse(seq bigint, id integer) returns boolean language sql immutable "
            "return seq % 3 = 0 and id % 100 = 7"
        )
        connection.execute("alter table ticks add constraint no_sevens check (not refuse(seq, instrument_id))")
    with Ingester(home, market, database.url) as ingester:
        wait_until(lambda: rows(database, "select from tickline.rejected_ticks offset 10 limit 1"))
        ingester.stop()
    check_account(database, stream_folder(home))
    with database.connect() as connection:
        found = connection.execute(
            """
            select count(*), count(distinct reason), min(reason), min(sqlstate), bool_and(refuse(seq, instrument_id)),
                (select sum(rejected) from tickline.ledger),
                (select count(*) from ticks where refuse(seq, instrument_id))
            from tickline.rejected_ticks
            """
        ).fetchone()
    assert found is not None
    count, reasons, reason, sqlstate, all_bad, in_ledger, written = found
    assert count == in_ledger > 0
    assert (reasons, sqlstate, all_bad, written) == (1, "23514", True, 0)
    assert "no_sevens" in reason


@on_one_engine
def test_writer_is_closed_when_its_thread_has_left_it(database: Database) -> None:
    """Closed under the thread, the connection's memory was used after it was freed: a segmentation fault."""
    ended: list[BaseException] = []
    writer = quick_writer(Writer(database.url, "default"))
    assert writer.meet(WITHIN_S)

    def use() -> None:
        try:
            writer.checkpoint("1", Position("20261129-000000000000001", 100), b"{}")
        except BaseException as exc:
            ended.append(exc)

    with database.connect() as holder:
        holder.execute("lock table tickline.checkpoints in access exclusive mode")
        thread = threading.Thread(target=use)
        thread.start()
        waiting = """
            select 1 from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and application_name like 'tickline%'
        """
        with database.connect(autocommit=True) as looker:
            wait_until(lambda: looker.execute(waiting).fetchone())
        writer.close()
        assert not thread.is_alive() or not thread.join(WITHIN_S)
    assert [type(error) for error in ended] == [Abandoned]
