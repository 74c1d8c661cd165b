"""Sessions are what the program relies on, whatever server, role, environment, URL or pooler there is."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql as psql
from psycopg.conninfo import conninfo_to_dict

from analytics.read.copy_reader import CopyReader, read_frame
from analytics.read.copy_way import Way
from ingest.cli import group
from ingest.database import upgrade as apply
from ingest.database.connections import Database, connect
from ingest.database.pool import run_with_pool
from ingest.database.queries import query
from ingest.database.server.user import ROOT_RUNS_AS
from ingest.database.sessions import PINS, TIME_LIMITS, options_named
from ingest.errors import StoreError
from ingest.store.bar_refresh import refresh_touched
from ingest.store.writer import Writer
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, wait_until
from tests.pooler import Pooler
from tests.simulated import free_port

# What a role may have, each of which broke something or could.
ODD = {
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kolkata",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "client_encoding": "LATIN1",
    "search_path": "odd",
    "statement_timeout": "3s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "3s",
    "idle_session_timeout": "3s",
    "transaction_timeout": "3s",
}


def with_words(url: str, **words: str) -> str:
    """Return a URL with more words in its query."""
    separator = "&" if "?" in url else "?"
    return url + separator + "&".join(f"{word}={quote(value, safe='')}" for word, value in words.items())


@pytest.fixture
def odd_url(template: Template, database: Database) -> Iterator[str]:
    """The database's URL as of a role whose sessions are odd; it is the owner's, and may do all."""
    with template.admin() as admin, database.connect(autocommit=True) as conn:
        admin.execute("create role odd superuser login")
        for name, value in ODD.items():
            admin.execute(psql.SQL("alter role odd set {} = {}").format(psql.Identifier(name), psql.Literal(value)))
        conn.execute("create schema odd create table ticks (ts text)")
        yield with_words(database.url, user="odd")
        conn.execute("drop schema odd cascade")
        admin.execute("drop role odd")


def settings_of(url: str) -> dict[str, str]:
    names = [*PINS, *TIME_LIMITS, "search_path"]
    with connect(url) as connection:
        rows = connection.execute("select name, setting from pg_settings where lower(name) = any(%s)", (names,))
        return {name.lower(): setting for name, setting in rows}


def test_settings_of_a_role_and_of_the_environment_do_not_reach_us(
    odd_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGTZ", "America/New_York")
    monkeypatch.setenv("PGOPTIONS", "-c intervalstyle=iso_8601")
    expected = PINS | dict.fromkeys(TIME_LIMITS, "0") | {"search_path": "public"}
    assert settings_of(odd_url) == expected
    names = list(expected)
    text = "select " + ", ".join(f"current_setting('{name}') = '{expected[name]}' as {name}" for name in names)
    assert set(read_frame(odd_url, text).row(0)) == {True}  # asyncpg's sessions are the same


def test_settings_hold_after_an_error_in_a_transaction(odd_url: str) -> None:
    with connect(odd_url) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0")
        connection.rollback()
        assert connection.execute("show datestyle").fetchone() == ("ISO, MDY",)


@pytest.mark.parametrize("where", ["url", "PGOPTIONS"])
def test_time_limit_that_the_user_gives_is_kept_and_what_we_rely_on_is_not(
    database: Database, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "-c statement_timeout=7000 --lock-timeout=8000 -c work_mem=5MB -c datestyle=German"
    url = with_words(database.url, options=options) if where == "url" else database.url
    if where == "PGOPTIONS":
        monkeypatch.setenv("PGOPTIONS", options)
    found = settings_of(url)
    assert (found["statement_timeout"], found["lock_timeout"], found["datestyle"]) == ("7000", "8000", "ISO, MDY")
    assert found["transaction_timeout"] == "0"
    text = "select current_setting('statement_timeout') = '7s' as a, current_setting('work_mem') = '5MB' as b"
    assert read_frame(url, text).row(0) == (True, True)


def test_options_are_read_in_each_form_that_the_server_takes() -> None:
    assert options_named("-c a=1 -cb=2 --c-d=3 -c\\ E=4 --x.y=5 -d 5") == {"a", "b", "c_d", "e", "x.y"}


def test_refresh_outlasts_the_time_limits_of_a_role(
    odd_url: str, conn: psycopg.Connection[Any], template: Template
) -> None:
    """It waits for a lock that is let go when it has waited for longer than the limits."""
    with template.admin() as admin:
        admin.execute("alter role odd set statement_timeout = '50ms'")
        admin.execute("alter role odd set lock_timeout = '50ms'")
    conn.execute(query("store/lock_bars"))
    waits = """
        select from pg_stat_activity
        where usename = 'odd' and wait_event_type = 'Lock' and clock_timestamp() - query_start > interval '200 ms'
    """
    with ThreadPoolExecutor(1) as pool, template.admin() as admin:
        refreshed = pool.submit(run_with_pool, odd_url, refresh_touched)
        try:
            wait_until(lambda: refreshed.done() or bool(admin.execute(waits).fetchall()))
        finally:
            conn.execute("select pg_advisory_unlock_all()")
        refreshed.result(timeout=WITHIN_S)


@on_one_engine
def test_extension_in_a_schema_of_its_own_is_found(template: Template) -> None:
    """A managed server keeps extensions apart, and names their schema in search_path only."""
    with template.fresh(empty=True) as database, database.connect(autocommit=True) as connection:
        if template.engine == "timescale":
            connection.execute("create schema apart")
            connection.execute("create extension timescaledb schema apart")
        apply.upgrade(database, template.engine)
        with database.connect() as again:
            path = again.execute("show search_path").fetchone()
        assert path == ("public, apart" if template.engine == "timescale" else "public",)


# URLs: what libpq takes reaches both libraries.


@pytest.fixture(scope="module")
def relay(template: Template) -> Iterator[Pooler]:
    """The server's socket as a port of 127.0.0.1."""
    with Pooler(template.url_of("postgres"), keeps_sessions=True) as relay:
        yield relay


def forms(relay: Pooler, folder: Path) -> dict[str, str]:
    """Return the same place in many forms; {} is a port at which nobody answers."""
    dead = free_port()
    (folder / "services").write_text(f"[desk]\nhost=127.0.0.1\nport={relay.port}\ndbname=postgres\nuser={relay.user}\n")
    words = f"port={relay.port} dbname=postgres user={relay.user}"
    return {
        "several hosts": f"postgresql://{relay.user}@127.0.0.1:{dead},127.0.0.1:{relay.port}/postgres",
        "hosts as words": f"host=127.0.0.1,localhost port={dead},{relay.port} dbname=postgres user={relay.user}",
        "address of a name that nobody knows": f"host=db.invalid hostaddr=127.0.0.1 {words}",
        "address alone": f"hostaddr=127.0.0.1 {words}",
        "service": "service=desk",
        "service in a URL": "postgresql:///?service=desk",
        "environment": "dbname=postgres",
        "which server": f"postgresql://{relay.user}@127.0.0.1:{relay.port}/postgres?target_session_attrs=read-write",
        "encryption if there is": f"postgresql://{relay.user}@localhost:{relay.port}/postgres?sslmode=prefer",
        "escapes": f"postgresql://tickline%5Fowner@127.0.0.1:{relay.port}/%70ostgres",
    }


@on_one_engine
def test_every_form_of_a_url_reaches_both_libraries(
    relay: Pooler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    for name, url in forms(relay, tmp_path).items():
        with monkeypatch.context() as patch:
            if name == "environment":
                patch.setenv("PGHOST", "127.0.0.1")
                patch.setenv("PGPORT", str(relay.port))
                patch.setenv("PGUSER", relay.user)
            with connect(url) as connection:
                assert connection.execute("show timezone").fetchone() == ("UTC",), name
            frame = read_frame(url, "select current_setting('timezone') = 'UTC' as utc")
            assert frame["utc"].item() is True, name


@on_one_engine
def test_socket_ipv6_and_odd_names_reach_both_libraries(template: Template) -> None:
    name = "a b/c%d@é"
    try:
        url = template.create(quote(name, safe=""), empty=True)
        with template.admin() as admin:
            admin.execute(
                psql.SQL("alter database {} rename to {}").format(
                    psql.Identifier(quote(name, safe="")), psql.Identifier(name)
                )
            )
        folder = str(conninfo_to_dict(url)["host"])
        urls = [f"postgresql://{template.owner}@{quote(folder, safe='')}/{quote(name, safe='')}"]
        with Pooler(urls[0], keeps_sessions=True, host="::1") as relay:
            for way in [*urls, relay.url]:
                with connect(way) as connection:
                    assert connection.execute("select current_database()").fetchone() == (name,)
                assert read_frame(way, f"select current_database() = '{name}' as there")["there"].item() is True
    finally:
        template.drop(name)


@on_one_engine
def test_password_of_a_file_is_handed_on(relay: Pooler, tmp_path: Path) -> None:
    """The server asks for none here; what libpq would answer is what asyncpg gets."""
    file = tmp_path / "passwords"
    file.write_text(f"127.0.0.1:{relay.port}:*:{relay.user}:s3cret\n")
    file.chmod(0o600)
    with connect(with_words(relay.url, passfile=str(file))) as connection:
        assert Way.of(connection).arguments["password"] == "s3cret"


# Poolers.


@contextmanager
def pgbouncer(url: str, folder: Path, *, keeps_sessions: bool) -> Iterator[str]:
    """Run the real one, which refuses to be root."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer on this machine")
    known = conninfo_to_dict(url)
    port = free_port()
    (folder / "bouncer.ini").write_text(
        f"[databases]\n* = host={known['host']} port=5432 user={known['user']}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {'session' if keeps_sessions else 'transaction'}\n"
    )
    folder.chmod(0o755)
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam(ROOT_RUNS_AS)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    process = subprocess.Popen([program, "-q", str(folder / "bouncer.ini")], stderr=subprocess.DEVNULL, **identity)
    try:
        there = f"postgresql://{known['user']}@127.0.0.1:{port}/{known['dbname']}"
        wait_until(lambda: psycopg.pq.PGconn.ping(there.encode()) == psycopg.pq.Ping.OK)
        yield there
    finally:
        process.terminate()
        process.wait(WITHIN_S)


@pytest.fixture(params=["ours", "pgbouncer"])
def pooled(request: pytest.FixtureRequest, home: Path) -> Any:
    """Put a pooler before a database: of these tests, and the real one where it is installed."""

    @contextmanager
    def before(url: str, *, keeps_sessions: bool) -> Iterator[str]:
        if request.param == "pgbouncer":
            with pgbouncer(url, home, keeps_sessions=keeps_sessions) as there:
                yield there
        else:
            with Pooler(url, keeps_sessions=keeps_sessions) as pooler:
                yield pooler.url

    return before


def test_pooler_that_keeps_sessions_is_like_the_server(database: Database, pooled: Any) -> None:
    with pooled(database.url, keeps_sessions=True) as url:
        with Writer(url, "pooled") as writer:
            writer.reconnect()  # its own lock is in the way, unless it ends the right process of the server
            with pytest.raises(StoreError, match="already writing"), Writer(url, "pooled"):
                pass
        with CopyReader(url, connections=2) as reader:
            assert len(reader.read([["select 1 as x"], ["select 2 as x"]])) == 2
        assert settings_of(url)["datestyle"] == "ISO, MDY"


@on_one_engine
@pytest.mark.parametrize(
    "command",
    [["replay", "{recording}"], ["db", "upgrade"], ["db", "status"], ["sql", "select 1"], ["bars", "INFY"]],
    ids=str,
)
def test_pooler_that_gives_each_transaction_another_session_is_refused(
    database: Database, pooled: Any, command: list[str], home: Path
) -> None:
    with pooled(database.url, keeps_sessions=False) as url:
        environment = {"TICKLINE_DATABASE_URL": url, "TICKLINE_HOME": str(home)}
        (recording := home / "x.frames.gz").touch()
        words = [word.format(recording=recording) for word in command]
        error = CliRunner().invoke(group, words, env=environment).exception
        assert isinstance(error, StoreError)
        assert "is behind a pooler that gives each transaction another session" in str(error)
        assert "pool_mode=session" in str(error) and "\n" not in str(error)


@on_one_engine
def test_pooler_is_found_out_when_others_use_it_too(database: Database, pooled: Any) -> None:
    """Whichever session others leave, ours is not kept."""
    with pooled(database.url, keeps_sessions=False) as url, psycopg.connect(url, autocommit=True) as other:
        other.execute("select 1")
        with psycopg.connect(url) as busy:
            busy.execute("select 1")
            with pytest.raises(StoreError, match="pooler"):
                connect(url)
