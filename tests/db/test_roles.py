"""Who may do what: the embedded server's database has an owner who is no superuser, and readers that only read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import analytics
from analytics.read.statement import select
from ingest.cli import group
from ingest.database import upgrade as apply
from ingest.database.connections import Database, connect
from ingest.database.embedded import SUPERUSER
from ingest.database.readiness import ready_database
from ingest.database.server.roles import OWNER, READER, WRITER
from ingest.database.settings import DatabaseSettings, Engine, load
from ingest.errors import StoreError
from ingest.settings import Settings
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import wait_until

ATTACKS = {
    # Become somebody else.
    "role": "select set_config('role', 'none', false), set_config('role', 'postgres', false)",
    "session": "select set_config('session_authorization', 'postgres', false)",
    "session by default": "select set_config('session_authorization', 'tickline_owner', false)",
    # The server's files.
    "file by ts_stat": "select set_config('role', 'none', false), word from "
    "ts_stat('select to_tsvector(pg_read_file(''PG_VERSION''))')",
    "file": "select pg_read_file('PG_VERSION')",
    "binary file": "select pg_read_binary_file('PG_VERSION')",
    "folder": "select pg_ls_dir('.')",
    "log": "select pg_ls_logdir()",
    "stat": "select pg_stat_file('PG_VERSION')",
    "settings": "select * from pg_file_settings",
    "hba": "select * from pg_hba_file_rules",
    "lo_import": "select lo_import('/etc/passwd')",
    "lo_export": "select lo_export(1, '/tmp/tickline-lo')",
    "program": "select query_to_xml('copy instruments to program ''id''', true, true, '')",
    "copy": "select query_to_xml('copy (select 1) to ''/tmp/tickline-copy''', true, true, '')",
    "passwords": "select rolpassword from pg_authid",
    # The server, and its other sessions.
    "reload": "select pg_reload_conf()",
    "rotate": "select pg_rotate_logfile()",
    "terminate": "select pg_terminate_backend({pid})",
    "terminate by query": "select query_to_xml('select pg_terminate_backend({pid})', true, true, '')",
    "cancel": "select pg_cancel_backend({pid})",
    "wal": "select pg_switch_wal()",
    "message": "select pg_logical_emit_message(false, 'x', repeat('x', 100))",
    "restore point": "select pg_create_restore_point('x')",
    "statistics": "select pg_stat_reset()",
    "other databases": "select dblink('dbname=postgres user=postgres', 'select 1')",
    # Those who wait for a lock or a notice.
    "lock": "select pg_advisory_lock(hashtextextended('tickline.refresh_bars', 0))",
    "lock of a collector": "select pg_try_advisory_lock(7469, hashtext('default'))",
    "shared lock": "select pg_advisory_xact_lock_shared(hashtextextended('tickline.upgrade', 0))",
    "notice": "select pg_notify('tickline_signals', 'x')",
    # Rows and numbers.
    "nextval": "select nextval(pg_get_serial_sequence('instruments', 'instrument_id'))",
    "setval": "select setval(pg_get_serial_sequence('instruments', 'instrument_id'), 1)",
    "large object": "select lo_create(0)",
    "delete": "with gone as (delete from ticks returning 1) select count(*) from gone",
    "delete by query": "select query_to_xml('delete from ticks', true, true, '')",
}
ATTACKS_ON_POSTGRES = {"partitions": "select tickline.ensure_partitions('2026-01-01', '2026-01-02')"}
ATTACKS_ON_TIMESCALE = {
    "drop chunks": "select drop_chunks('ticks', now())",
    "add job": "select add_job('tickline.refresh_bars', '1 hour')",
    "alter job": "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs where job_id >= 1000",
    "stop workers": "select _timescaledb_functions.stop_background_workers()",
    "restoring": "select timescaledb_pre_restore()",
    "compress": "select compress_chunk(c) from show_chunks('ticks') as c union all select compress_chunk('ticks')",
}
UNREAD = {"tickline.checkpoints", "tickline.quarantined_frames"}  # bytes as received or remembered
# Not by a read-only transaction: by right.
WRITES = [
    "insert into instruments (instrument_key) values ('x')",
    "delete from ticks",
    "update days set dropped_at = now()",
    "create table made ()",
    "create table tickline.made ()",
    "create schema made",
    "create extension dblink",
    "create function f() returns int language sql return 1",
    "truncate ticks",
    "alter role tickline_reader superuser",
    "set role tickline_owner",
    "set session authorization postgres",
    "copy (select 1) to program 'id'",
    "alter system set work_mem = '1MB'",
    "alter database {dbname} owner to tickline_reader",
    "grant tickline_owner to tickline_reader",
    "checkpoint",
    "load 'plpgsql'",
]


@pytest.fixture(scope="module")
def reader(database_to_read: Database) -> Database:
    """The database as its readers have it on the embedded server."""
    return Database(make_conninfo(database_to_read.url, user=READER), None)


@pytest.fixture(scope="module")
def pid(conn_to_read: psycopg.Connection[Any]) -> int:
    """A session of the owner's."""
    return conn_to_read.info.backend_pid


@pytest.mark.parametrize("attack", [*ATTACKS, *ATTACKS_ON_POSTGRES, *ATTACKS_ON_TIMESCALE])
def test_statement_that_would_do_more_than_read_is_refused(
    reader: Database, engine: Engine, attack: str, pid: int, conn_to_read: psycopg.Connection[Any]
) -> None:
    statements = ATTACKS | (ATTACKS_ON_TIMESCALE if engine == "timescale" else ATTACKS_ON_POSTGRES)
    if attack not in statements:
        return  # of the other engine
    with pytest.raises(StoreError) as error:
        select(statements[attack].format(pid=pid), reader)
    assert "\n" not in str(error.value)
    locks = conn_to_read.execute(
        "select from pg_locks join pg_database on pg_database.oid = database "
        "where datname = current_database() and locktype = 'advisory'"
    ).fetchall()
    assert conn_to_read.info.backend_pid == pid and locks == []


def test_login_of_readers_has_no_right_to_write(reader: Database) -> None:
    """Whatever its transaction: here it is read write."""
    with connect(reader.url, autocommit=True) as connection:
        assert connection.execute("show default_transaction_read_only").fetchone() == ("off",)
        for statement in WRITES:
            named = statement.format(dbname=connection.info.dbname).encode()
            try:
                connection.execute(named)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
                continue
            pytest.fail(statement)


def test_every_relation_is_readable(reader: Database, conn_to_read: psycopg.Connection[Any]) -> None:
    names = conn_to_read.execute(
        "select relation.oid::regclass::text from pg_class as relation "
        "join pg_namespace as space on space.oid = relnamespace "
        "where nspname in ('public', 'tickline') and relkind in ('r', 'v', 'p') "
        "and not exists (select from pg_depend where objid = relation.oid and deptype = 'e')"
    ).fetchall()
    assert len(names) > 20
    for (name,) in names:
        if name not in UNREAD:
            select(f"select count(t) from {name} as t", reader)
    frame = select("select session_user, current_user, current_setting('is_superuser') as is_superuser", reader)
    assert frame.row(0) == (READER, READER, "off")


def test_nothing_of_the_database_is_a_superusers(conn_to_read: psycopg.Connection[Any], engine: Engine) -> None:
    left = conn_to_read.execute(
        "select relation.oid::regclass::text from pg_class as relation "
        "join pg_namespace as space on space.oid = relnamespace "
        "where relowner = 10 and relkind <> 'i' and nspname !~ '^pg_|^information_schema$|^_timescaledb_c' "
        "and not exists (select from pg_depend where objid = relation.oid and deptype = 'e')"
    ).fetchall()
    assert left == []
    owner = "select pg_get_userbyid(datdba) from pg_database where datname = current_database()"
    assert conn_to_read.execute(owner).fetchone() == (OWNER,)
    assert conn_to_read.info.parameter_status("is_superuser") == "off"
    if engine == "timescale":
        jobs = "select distinct owner::text from timescaledb_information.jobs where job_id >= 1000"
        assert conn_to_read.execute(jobs).fetchall() == [(OWNER,)]


# A server of a URL.


@pytest.fixture
def stranger(template: Template, database: Database) -> Iterator[str]:
    """The URL of a login without any right."""
    with template.admin() as admin:
        admin.execute("create role stranger login")
        yield make_conninfo(database.url, user="stranger")
        with connect(make_conninfo(database.url, user=SUPERUSER), autocommit=True) as connection:
            connection.execute("drop owned by stranger")
        admin.execute("drop role stranger")


def test_reader_without_rights_is_told_which_in_one_line(stranger: str, conn: psycopg.Connection[Any]) -> None:
    conn.execute("insert into instruments (instrument_key) values ('NSE_EQ|1')")
    refused = r"^user 'stranger' may not .*permission denied .*grant select on all tables in schema public, tickline"
    for read in (
        lambda: analytics.bars("NSE_EQ|1", database=stranger),
        lambda: analytics.ticks("NSE_EQ|1", database=stranger),
        lambda: select("select * from ticks", Database(stranger, None)),
    ):
        with pytest.raises(StoreError, match=refused) as error:
            read()
        assert "\n" not in str(error.value)
    conn.execute("grant select on all tables in schema public, tickline to stranger")
    assert analytics.bars("NSE_EQ|1", interval="15m", database=stranger).height == 0
    assert analytics.ticks("NSE_EQ|1", database=stranger).height == 0
    assert select("select * from best_bars_5m", Database(stranger, None)).height == 0


@on_one_engine
def test_superuser_of_a_url_reads_as_another_and_is_warned(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    boss = Database(make_conninfo(database.url, user=SUPERUSER), None)
    with caplog.at_level(logging.WARNING):
        assert select("select current_user", boss).row(0) == ("pg_read_all_data",)
    assert "'postgres' is a superuser" in caplog.text
    caplog.clear()
    assert select("select current_user", database).row(0) == (OWNER,)
    assert caplog.text == ""


# A real home.


def test_home_has_an_owner_readers_and_jobs_that_run(home: Path, engine: Engine) -> None:
    environment = {"TICKLINE_HOME": str(home), "TICKLINE_ENGINE": engine, "TICKLINE_DATABASE_URL": ""}
    settings = load(Settings, home=home, engine=engine, database_url=None)
    with ready_database(settings) as database, database.connect(autocommit=True) as connection:
        assert conninfo_to_dict(database.url)["user"] == WRITER
        ran = CliRunner().invoke(group, ["sql", "select session_user as who", "--format", "csv"], env=environment)
        assert ran.output.split() == ["who", READER], ran.exception
        ran = CliRunner().invoke(group, ["sql", "select pg_reload_conf()"], env=environment)
        assert "user 'tickline_reader' may not do this: permission denied" in str(ran.exception)
        with connect(database.reader_url) as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("create temporary table made ()")
        connection.execute("insert into instruments (instrument_key) values ('NSE_EQ|1')")
        assert analytics.bars("NSE_EQ|1", database=database).height == 0
        assert apply.upgrade(database) == []
        if engine == "timescale":
            job = connection.execute(
                "select alter_job(job_id, next_start => now()), job_id from timescaledb_information.jobs "
                "where job_id >= 1000 order by job_id limit 1"
            ).fetchone()
            assert job is not None
            done = "select last_run_status from timescaledb_information.job_stats where job_id = %s and total_runs > 0"
            wait_until(lambda: connection.execute(done, (job[1],)).fetchone() == ("Success",))


def test_database_of_an_earlier_version_is_given_away_at_the_next_start(home: Path, engine: Engine) -> None:
    """As one that was made by a superuser: all that is ours changes hands, and again what an older program adds."""
    settings = load(DatabaseSettings, home=home, engine=engine, database_url=None)
    with Database.open(settings) as database:
        apply.upgrade(database)
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("alter database tickline owner to postgres")
            connection.execute("create table public.late (n int generated always as identity)")
            connection.execute("create view tickline.late as select * from public.late")
            connection.execute("create function public.late() returns int language sql return 1")
            connection.execute("grant execute on function pg_notify(text, text) to public")
    with Database.open(settings) as database, database.connect() as connection:
        owners = """
            select relowner::regrole::text from pg_class where relname like 'late%'
            union select proowner::regrole::text from pg_proc where proname = 'late'
            union select datdba::regrole::text from pg_database where datname = 'tickline'
        """
        assert connection.execute(owners).fetchall() == [(OWNER,)]
        allowed = "select has_function_privilege(%s, 'pg_notify(text, text)', 'execute')"
        assert connection.execute(allowed, (READER,)).fetchone() == (False,)
