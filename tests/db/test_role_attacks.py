"""What a reader tries by SQL of its own, in a session that may write, fails; whoever may do it can.

Two readers try: that of the embedded server, and a login of a server of a URL that is a member of `tickline_reader`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ingest.database import upgrade as apply
from ingest.database.connections import Database, connect
from ingest.database.embedded import SUPERUSER
from ingest.database.server import roles
from ingest.database.server.roles import READER, WRITER
from ingest.database.settings import Engine
from tests.conftest import Template

DESK, INGESTER = "desk", "ingester"  # logins of people and programs, members of the roles
AS_OWNER = {
    # Rows.
    "insert": "insert into instruments (instrument_key) values ('NSE_EQ|9')",
    "update": "update days set dropped_at = now()",
    "delete": "delete from ticks",
    "delete of the ledger": "delete from tickline.ledger",
    "delete in a block": "do $$ begin delete from ticks; end $$",
    "truncate": "truncate ticks",
    "row locks": "select 1 from instruments for update",
    "table lock": "lock table ticks in exclusive mode",
    "weak table lock": "lock table instruments in row share mode",
    "copy in": "copy instruments (instrument_key) from stdin",
    "merge": "merge into instruments using (values ('x')) as v (k) on instrument_key = k "
    "when not matched then insert (instrument_key) values (k)",
    "nextval": "select nextval(pg_get_serial_sequence('instruments', 'instrument_id'))",
    "setval": "select setval(pg_get_serial_sequence('instruments', 'instrument_id'), 1)",
    "large object": "select lo_create(0)",
    "large object of bytes": "select lo_from_bytea(0, 'x')",
    # Objects.
    "table": "create table public.made ()",
    "table in our schema": "create table tickline.made ()",
    "temporary table": "create temporary table made ()",
    "temporary function": "create function pg_temp.made() returns int language sql return 1",
    "function as its owner": "create function public.made() returns int language sql security definer return 1",
    "view": "create view public.made as select 1 as one",
    "schema": "create schema made",
    "trigger": "create trigger made before insert on instruments for each row "
    "execute function suppress_redundant_updates_trigger()",
    "index": "create index made on instruments (lot_size)",
    "alter": "alter table instruments add made int",
    "row security": "alter table instruments enable row level security",
    "rename": "alter view best_bars_1m rename to made",
    "drop": "drop table signals",
    "drop of a view": "drop view latest_ticks cascade",
    "comment": "comment on table ticks is 'mine'",
    "statistics": "create statistics made on lot_size, tick_size from instruments",
    # Rights.
    "default rights": "alter default privileges for role tickline_owner grant all on tables to public",
    "owner": "alter table signals owner to tickline_owner",
    # What other sessions wait for.
    "session lock of a refresh": "select pg_advisory_xact_lock(hashtextextended('tickline.refresh_bars', 0))",
    "lock of a collector": "select pg_try_advisory_xact_lock(7469, hashtext('default'))",
    "shared lock of an upgrade": "select pg_advisory_xact_lock_shared(hashtextextended('tickline.upgrade', 0))",
    "notice": "select pg_notify('tickline_signals', 'x')",
    # What is not for readers.
    "checkpoints": "select * from tickline.checkpoints",
    "quarantine": "select payload from tickline.quarantined_frames",
    "partitions": "select tickline.ensure_partitions('2026-01-01', '2026-01-02')",
}
AS_OWNER_ON = {
    "postgres": {
        "drop ticks": "drop table ticks cascade",
        "bars": "call tickline.refresh_bars('2026-01-01', '2026-01-02')",
    },
    "timescale": {
        "drop chunks": "select drop_chunks('ticks', older_than => '2000-01-01'::timestamptz)",
        "job": "select add_job('tickline.refresh_bars', '1 hour')",
        "alter job": "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs "
        "where job_id >= 1000",
        "delete job": "select delete_job(job_id) from timescaledb_information.jobs where job_id >= 1000",
        "columnstore": "alter table ticks set (timescaledb.compress = false)",
        "retention": "select add_retention_policy('ticks', interval '1 day')",
        "hypertable": "select set_chunk_time_interval('ticks', interval '1 hour')",
    },
}
OUTSIDE_TRANSACTION_ON: dict[Engine, dict[str, str]] = {
    "postgres": {},
    "timescale": {
        "bars": "call tickline.refresh_bars('2026-01-01', '2026-01-02')",
        "aggregate": "call refresh_continuous_aggregate('bars_1m', '2026-01-01', '2026-01-02')",
    },
}
AS_SUPERUSER = {
    "file": "select pg_read_file('PG_VERSION')",
    "folder": "select pg_ls_dir('.')",
    "program": "copy (select 1) to program 'cat > /dev/null'",
    "from a program": "copy instruments (instrument_key) from program 'true'",
    "to a file": "copy (select 1) to '/dev/null'",
    "large object of a file": "select lo_import('/dev/null')",
    "passwords": "select rolpassword from pg_authid",
    "role": "create role made",
    "its own rights": "alter role {reader} superuser",
    "membership": "grant tickline_owner to {reader}",
    "become owner": "set local role tickline_owner",
    "become superuser": "set local session authorization postgres",
    "limits of the writer": "alter role tickline_writer set statement_timeout = '1ms'",
    "limits of all": "alter database {database} set statement_timeout = '1ms'",
    "connections": "alter database {database} connection limit 0",
    "reload": "select pg_reload_conf()",
    "checkpoint": "checkpoint",
    "statistics of the server": "select pg_stat_reset()",
    "message in the log": "select pg_logical_emit_message(false, 'x', 'x')",
    "other databases": "create extension postgres_fdw",
    "replication": "create publication made for all tables",
    "catalog": "update pg_class set relname = relname where false",
    "log": "set local log_statement = 'all'",
    "library": "load 'auto_explain'",
}
AS_SUPERUSER_ON: dict[Engine, dict[str, str]] = {
    "postgres": {},
    "timescale": {
        "catalog of TimescaleDB": "update _timescaledb_catalog.hypertable set table_name = table_name",
        "jobs of TimescaleDB": "delete from _timescaledb_catalog.bgw_job where id > 999",
    },
}
OUTSIDE_TRANSACTION_AS_SUPERUSER = {"settings of the server": "alter system reset work_mem"}


@dataclass(frozen=True, slots=True)
class Place:
    """A database, as each of three logins has it."""

    reader: psycopg.Connection[Any]
    owner: psycopg.Connection[Any]
    superuser: psycopg.Connection[Any]

    def named(self, statement: str) -> bytes:
        info = self.reader.info
        return statement.format(reader=info.user, database=f'"{info.dbname}"').encode()


@pytest.fixture(scope="module")
def url_database(template: Template) -> Iterator[Database]:
    """A server of a URL after `tickline db upgrade --with-roles`; with a reader's login, and a writer's."""
    with template.fresh(empty=True) as empty, template.admin() as admin:
        boss = Database(make_conninfo(empty.url, user=SUPERUSER), None, template.engine)
        admin.execute(f'alter database "{boss.connect().info.dbname}" owner to postgres')
        assert apply.upgrade(boss, logins={})
        for login, role in ((DESK, READER), (INGESTER, WRITER)):
            admin.execute(f"create role {login} login in role {role}")
        yield boss
        for login in (DESK, INGESTER):
            admin.execute(f"drop role {login}")


@pytest.fixture(scope="module", params=["embedded", "url"])
def place(request: pytest.FixtureRequest, database_to_read: Database, url_database: Database) -> Iterator[Place]:
    """The same database twice: roles of the embedded server, and logins of a server of a URL."""
    is_url = request.param == "url"
    url, reader = (url_database.url, DESK) if is_url else (database_to_read.url, READER)
    if not is_url:
        with connect(make_conninfo(url, user=SUPERUSER), autocommit=True) as superuser:
            roles.give(superuser)  # as at each start: a copy of a database has not its rights
    with (
        connect(make_conninfo(url, user=reader), autocommit=True) as one,
        Database(url, None).connect_as_owner(autocommit=True) as two,
        connect(make_conninfo(url, user=SUPERUSER), autocommit=True) as three,
    ):
        assert one.execute("show default_transaction_read_only").fetchone() == ("off",)
        yield Place(one, two, three)


def run(connection: psycopg.Connection[Any], statement: bytes) -> None:
    if statement.startswith(b"copy") and statement.endswith(b"stdin"):
        with connection.cursor().copy(statement) as copy:
            copy.write("NSE_EQ|9\n")
    else:
        connection.execute(statement)


def refuse(place: Place, name: str, statement: bytes, *, in_transaction: bool = True) -> None:
    """The reader's attempt fails for want of a right."""
    try:
        with place.reader.transaction(force_rollback=True) if in_transaction else nullcontext():
            run(place.reader, statement)
    except psycopg.errors.InsufficientPrivilege:
        return
    except psycopg.Error as exc:
        pytest.fail(f"{name}: {exc.sqlstate} {exc}")
    pytest.fail(f"{name}: it was done")


def test_whatever_a_reader_tries_fails_and_the_owner_can(place: Place, engine: Engine) -> None:
    for name, text in (AS_OWNER | AS_OWNER_ON[engine]).items():
        statement = place.named(text)
        refuse(place, name, statement)
        with place.owner.transaction(force_rollback=True):
            run(place.owner, statement)
    for name, text in OUTSIDE_TRANSACTION_ON[engine].items():
        refuse(place, name, place.named(text), in_transaction=False)
        run(place.owner, place.named(text))


def test_what_only_a_superuser_may_fails_for_all_others(place: Place, engine: Engine) -> None:
    for name, text in (AS_SUPERUSER | AS_SUPERUSER_ON[engine]).items():
        statement = place.named(text)
        refuse(place, name, statement)
        with place.superuser.transaction(force_rollback=True):
            run(place.superuser, statement)
    for name, text in OUTSIDE_TRANSACTION_AS_SUPERUSER.items():
        refuse(place, name, place.named(text), in_transaction=False)
        run(place.superuser, place.named(text))


def test_rights_are_not_passed_on(place: Place) -> None:
    """PostgreSQL warns instead of refusing."""
    rights = "select relacl::text from pg_class where oid = 'ticks'::regclass"
    before = place.superuser.execute(rights).fetchone()
    for given in (
        "grant insert on ticks to public",
        "grant select on ticks to public",
        "revoke all on ticks from public",
    ):
        place.reader.execute(given.encode())
        assert place.superuser.execute(rights).fetchone() == before
    with place.owner.transaction(force_rollback=True):
        place.owner.execute("grant insert on ticks to public")
        assert place.owner.execute(rights).fetchone() != before


def test_session_of_the_writer_is_ended_by_itself_only(place: Place) -> None:
    with connect(make_conninfo(place.owner.info.dsn, user=WRITER), autocommit=True) as writer:
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            refuse(place, function, f"select {function}({writer.info.backend_pid})".encode())
        writer.execute("select 1")
        with connect(make_conninfo(place.owner.info.dsn, user=WRITER), autocommit=True) as again:
            again.execute("select pg_terminate_backend(%s, 5000)", (writer.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            writer.execute("select 1")


def test_writer_changes_rows_and_nothing_of_the_server(place: Place, url_database: Database, engine: Engine) -> None:
    is_url = place.owner.info.dbname in url_database.url
    with connect(make_conninfo(place.owner.info.dsn, user=INGESTER if is_url else WRITER), autocommit=True) as writer:
        attacks = AS_SUPERUSER | AS_SUPERUSER_ON[engine]
        free = {"become owner", "message in the log"}
        # A login may limit itself; the embedded server's database is the owner's.
        free |= set() if is_url else {"limits of the writer", "limits of all", "connections"}
        as_writer = Place(writer, place.owner, place.superuser)
        for name in attacks.keys() - free:
            refuse(as_writer, name, as_writer.named(attacks[name]))
        with writer.transaction(force_rollback=True):
            writer.execute("insert into instruments (instrument_key) values ('NSE_EQ|9')")
            writer.execute("delete from ticks")
            writer.execute("select tickline.ensure_partitions('2026-01-01', '2026-01-02')")
            owned = "select count(*) from pg_class where relowner <> 'tickline_owner'::regrole and relname ~ '^ticks_'"
            assert writer.execute(owned).fetchone() == (0,)
        if engine == "postgres":
            for definition in ("drop table signals", "alter table ticks add made int", "create table public.made ()"):
                refuse(as_writer, definition, definition.encode())
