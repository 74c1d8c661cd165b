"""Logins with passwords of any characters on a server of a URL, set as docker-compose.yml sets them."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql as psql
from psycopg.conninfo import make_conninfo

import analytics
from ingest.cli import group
from ingest.database import timescaledb
from ingest.database.connections import connect
from ingest.database.embedded import SUPERUSER, EmbeddedServer, embedded_server
from ingest.database.server.roles import OWNER, READER, WRITER
from ingest.database.settings import DatabaseSettings, Engine, load
from ingest.errors import ConfigError, StoreError
from tests.conftest import NO_TIMESCALE
from tests.data import REPOSITORY
from tests.fault.harness import Ingester, Market, wait_until
from tests.simulated import free_port

ODD = "p@ss:/?#[]!$&'()*+,;=% \"\\"
PASSWORDS = {
    "POSTGRES_PASSWORD": f"{ODD}1",
    "TICKLINE_WRITER_PASSWORD": f"{ODD}2",
    "TICKLINE_READER_PASSWORD": f"{ODD}3",
}
BOSS = "tickline"  # the superuser of the Compose file


def environment_of(service: str) -> dict[str, str]:
    """Return what a service of the Compose file has in its environment, with the values of `.env`."""
    text = (REPOSITORY / "docker-compose.yml").read_text()
    body = re.search(rf"^  {service}:\n((?:    .*\n)*)", text, re.MULTILINE)
    assert body is not None
    block = re.search(r"^    environment:\n((?:      .*\n)*)", body[1], re.MULTILINE)
    assert block is not None
    found = {}
    for name, value in re.findall(r"^      (\w+): *(.*)$", block[1], re.MULTILINE):
        plain = value[1:-1] if value.startswith('"') else value
        found[name] = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: PASSWORDS[match[1]], plain)
    return found


@dataclass(frozen=True, slots=True)
class Server:
    """A server that asks for passwords on a port, with an empty database and no role of ours."""

    embedded: EmbeddedServer
    engine: Engine
    home: Path

    def environment(self, service: str) -> dict[str, str]:
        """Return a service's environment, for this server instead of `timescaledb`."""
        given = environment_of(service) | {"TICKLINE_HOME": str(self.home), "TICKLINE_ENGINE": self.engine}
        place = f"host=127.0.0.1 port={self.embedded.port} "
        return {
            name: value.replace("host=timescaledb ", place) if name.endswith("_URL") else value
            for name, value in given.items()
        }

    def run(self, service: str, *words: str, **more: str) -> Result:
        # What a development machine has set is not for this server.
        clean = {"TICKLINE_DATABASE_URL": "", "PGPASSWORD": "", "TICKLINE_API_PORT": "0"}
        return CliRunner().invoke(group, words, env=clean | self.environment(service) | more)

    def url(self, service: str, setting: str = "TICKLINE_DATABASE_URL", **words: str) -> str:
        return make_conninfo(self.environment(service)[setting], **words)


@pytest.fixture(scope="session", params=[pytest.param("postgres", marks=pytest.mark.soak), "timescale"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """TimescaleDB, as the Compose file has it; PostgreSQL alone in the long run, and in the tests of roles."""
    return request.param


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[Server]:
    files = DatabaseSettings().timescaledb_dir
    if engine == "timescale" and timescaledb.find(files) is None:
        pytest.skip(NO_TIMESCALE)
    home = Path(tempfile.mkdtemp(prefix="tl-"))
    listens = {"listen_addresses": "127.0.0.1", "port": str(free_port()), "fsync": "off"}
    with embedded_server(
        home / "server", timescaledb_dir=files, use_timescaledb=engine == "timescale", settings=listens
    ) as running:
        hba = running.root / "data" / "pg_hba.conf"
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        with psycopg.connect(running.url("postgres", user=SUPERUSER), autocommit=True) as admin:
            admin.execute("drop database tickline")
            for role in (OWNER, WRITER, READER):
                admin.execute(psql.SQL("drop role {}").format(psql.Identifier(role)))
            password = psql.Literal(PASSWORDS["POSTGRES_PASSWORD"])
            admin.execute(
                psql.SQL("create role {} superuser login password {}").format(psql.Identifier(BOSS), password)
            )
            admin.execute(psql.SQL("create database tickline owner {}").format(psql.Identifier(BOSS)))
            admin.execute("select pg_reload_conf()")
        yield Server(running, engine, home / "client")
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def upgraded(server: Server) -> Server:
    """The same after the one-shot service."""
    ran = server.run("upgrade", "db", "upgrade", "--with-roles")
    assert ran.exit_code == 0, ran.exception
    assert server.run("upgrade", "db", "upgrade", "--with-roles").output.startswith("nothing to do")
    return server


def test_login_that_may_not_create_roles_is_told_in_one_line(server: Server) -> None:
    with psycopg.connect(server.embedded.url(user=SUPERUSER), autocommit=True) as admin:
        admin.execute("create role plain login password 'plain'")
    url = server.url("upgrade", user="plain")
    ran = server.run("upgrade", "db", "upgrade", "--with-roles", TICKLINE_DATABASE_URL=url, PGPASSWORD="plain")
    assert isinstance(ran.exception, ConfigError) and "\n" not in str(ran.exception)
    assert re.match(
        r"^user 'plain' may not create roles: run `tickline db upgrade --with-roles` with the URL of a superuser",
        str(ran.exception),
    )


def test_owner_of_a_database_who_may_create_roles_is_enough(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """As on a managed server, where nobody is a superuser: what only a superuser can take from readers is said."""
    with psycopg.connect(server.embedded.url("postgres", user=SUPERUSER), autocommit=True) as admin:
        admin.execute("create role manager createrole login password 'manager'")
        admin.execute("create database managed owner manager")
        try:
            given = {"TICKLINE_DATABASE_URL": server.url("upgrade", user="manager", dbname="managed")}
            for _ in range(2):
                ran = server.run("upgrade", "db", "upgrade", "--with-roles", **given, PGPASSWORD="manager")
                assert ran.exit_code == 0, ran.exception
                assert "user 'manager' is no superuser: readers could still use session locks" in caplog.text
                caplog.clear()
            reader = {"TICKLINE_DATABASE_URL": server.url("upgrade", user=READER, dbname="managed"), "PGPASSWORD": ""}
            ran = server.run("upgrade", "sql", "select count(*) from best_bars_1m", **reader)
            assert ran.exit_code == 0, ran.exception
            with connect(reader["TICKLINE_DATABASE_URL"], password=PASSWORDS["TICKLINE_READER_PASSWORD"]) as desk:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    desk.execute("delete from ticks")
        finally:
            admin.execute("drop database managed with (force)")
            for role in (WRITER, READER, OWNER, "manager"):
                admin.execute(psql.SQL("drop role if exists {}").format(psql.Identifier(role)))


def test_passwords_of_any_characters_let_each_role_in_and_no_other_does(upgraded: Server) -> None:
    places = {WRITER: "TICKLINE_DATABASE_URL", READER: "TICKLINE_READ_DATABASE_URL"}
    for role, setting in places.items():
        given = {"user": role, "password": upgraded.environment("ingester")[f"TICKLINE_{role[9:].upper()}_PASSWORD"]}
        with connect(upgraded.url("ingester", setting, **given)) as connection:
            assert connection.execute("select session_user").fetchone() == (role,)
        with pytest.raises(StoreError, match="password authentication failed"):
            connect(upgraded.url("ingester", setting, user=role, password=PASSWORDS["POSTGRES_PASSWORD"]))
    with pytest.raises(StoreError, match="password"):  # the owner has none
        connect(upgraded.url("ingester", user=OWNER, password=""))
    assert upgraded.environment("ingester")["POSTGRES_PASSWORD"] == ""


def test_ingester_records_as_the_writer_and_readers_read_with_their_own_login(upgraded: Server, tmp_path: Path) -> None:
    environment = upgraded.environment("ingester")
    del environment["TICKLINE_API_HOST"], environment["TICKLINE_API_PORT"]
    with Market(tmp_path / "market", "--generate", "--instruments", "20", "--speed", "10") as market:
        url = environment.pop("TICKLINE_DATABASE_URL")
        home = Path(environment.pop("TICKLINE_HOME"))
        with Ingester(home, market, url, **environment) as ingester:
            boss = upgraded.embedded.url(user=SUPERUSER)
            with psycopg.connect(boss, autocommit=True) as admin:
                wait_until(lambda: admin.execute("select count(*) > 500 from ticks").fetchone() == (True,))
                users = "select distinct usename::text from pg_stat_activity where application_name ~ '^tickline'"
                assert admin.execute(users).fetchall() == [(WRITER,)]
            ingester.stop()
    # Only the reader's login is right here.
    wrong = {"TICKLINE_DATABASE_URL": upgraded.url("ingester", user="nobody")}
    for words in (["sql", "select count(*) from ticks"], ["bars", market.keys[0]], ["ticks", market.keys[0]]):
        ran = upgraded.run("ingester", *words, "--format", "csv", **wrong)
        assert ran.exit_code == 0, ran.exception
        assert len(ran.output.splitlines()) > 1
    reader = {"TICKLINE_DATABASE_URL": upgraded.url("ingester", "TICKLINE_READ_DATABASE_URL")}
    for words in (["spikes", market.keys[0]], ["db", "status"], ["sql", "select session_user as me"]):
        ran = upgraded.run("ingester", *words, **reader)
        assert ran.exit_code == 0, ran.exception
    for words in (["db", "refresh"], ["db", "retain"], ["db", "upgrade"]):
        ran = upgraded.run("ingester", *words, **reader)
        assert isinstance(ran.exception, StoreError) and "permission denied" in str(ran.exception), words


def test_writer_replays_and_retains(upgraded: Server, short_session: Path) -> None:
    ran = upgraded.run("ingester", "replay", str(short_session))
    assert ran.exit_code == 0, ran.exception
    ran = upgraded.run("ingester", "reconcile", "--day", "2025-12-15")
    ran = upgraded.run("ingester", "export", "--day", "2025-12-15", "--folder", str(upgraded.home / "archive"))
    assert ran.exit_code == 0, ran.exception
    ran = upgraded.run("ingester", "db", "retain", "--keep-days", "30")
    assert ran.exit_code == 0 and re.search(r"2025-12-15 +dropped", ran.output), (ran.output, ran.exception)
    with psycopg.connect(upgraded.embedded.url(user=SUPERUSER)) as admin:
        foreign = admin.execute(
            "select oid::regclass::text from pg_class where relowner <> %s::regrole and relkind in ('r', 'p') "
            "and relnamespace::regnamespace::text in ('public', 'tickline', '_timescaledb_internal') "
            "and not exists (select from pg_depend where objid = pg_class.oid and deptype = 'e')",
            (OWNER,),
        ).fetchall()
    assert foreign == []


def test_status_says_who_may_what(upgraded: Server) -> None:
    ran = upgraded.run("ingester", "db", "status", "--format", "json")
    known: list[dict[str, Any]] = json.loads(ran.output)["roles"]
    shown = {role.pop("role"): role for role in known}
    assert shown[BOSS]["superuser"] and shown[BOSS]["writes"]
    rights = {"reads": True, "writes": True, "superuser": False}
    is_timescale = upgraded.engine == "timescale"
    assert shown[WRITER] == rights | {"logins": [WRITER], "owns": is_timescale}
    assert shown[READER] == {"reads": True, "writes": False, "owns": False, "superuser": False, "logins": [READER]}
    assert shown[OWNER]["owns"] and shown[OWNER]["logins"] == [OWNER] + [WRITER] * is_timescale
    assert list(shown)[-1] == READER
    text = upgraded.run("ingester", "db", "status").output
    assert re.search(rf"^{READER} +{READER} +yes +no +no *$", text, re.MULTILINE)


def test_reader_without_a_writer_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLINE_READ_DATABASE_URL", "host=127.0.0.1")
    monkeypatch.delenv("TICKLINE_DATABASE_URL", raising=False)
    with pytest.raises(ConfigError, match="TICKLINE_READ_DATABASE_URL is set but TICKLINE_DATABASE_URL is not"):
        analytics.bars("INFY")
    monkeypatch.setenv("TICKLINE_DATABASE_URL", "host=127.0.0.1")
    monkeypatch.setenv("TICKLINE_READ_DATABASE_URL", "postgresql://user:a/b@host/x")
    with pytest.raises(ConfigError, match="TICKLINE_READ_DATABASE_URL is not a libpq URL"):
        analytics.bars("INFY", database=None)
    assert load(DatabaseSettings).read_database_url is not None
