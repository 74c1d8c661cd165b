"""The schema: the same on both engines, made once, and refused when it is not ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ingest.database import queries
from ingest.database import upgrade as apply
from ingest.database.connections import HEAD, Database, check_schema, connect, revision, translate
from ingest.database.operations.status import status
from ingest.database.settings import DatabaseSettings, load
from ingest.errors import ConfigError, Rejected, Retryable, SchemaError, StoreError
from ingest.model.ticks import TICK_COLUMNS
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.processes import run_command

PUBLIC = {
    "instruments", "ticks", "bars_1m", "bars_5m", "official_bars_1m", "best_bars_1m", "best_bars_5m",
    "feed_gaps", "unheard_minutes", "latest_ticks", "signals", "days", "depth", "official_days", "labels",
}  # fmt: skip
INTERNAL = {
    "installation", "tick_template", "ledger", "checkpoints", "rejected_ticks", "quarantined_frames",
    "active_instruments", "side_rows", "collectors",
}  # fmt: skip
TYPE_NAMES = {
    "timestamptz": "timestamp with time zone",
    "int4": "integer",
    "int8": "bigint",
    "bool": "boolean",
    "float8": "double precision",
}
REVISIONS = [f"{number:04}" for number in range(1, 18)]
CONVERTED = {"ticks", "depth", "bars_1m", "bars_5m", "official_bars_1m"}  # to the columnstore
OF_ONE_ENGINE = {
    "batches_of", "compress_ticks", "compute_bars_1m", "compute_bars_5m", "days_without_partition", "pack_batches",
    "tick_order",
}  # fmt: skip
_seen: dict[str, Any] = {}


def describe(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    """Everything a reader can see of the public relations, and of the internals that both engines have."""
    relations = "table_schema = 'public' or (table_schema = 'tickline' and table_name = any(%s))"
    return {
        "columns": conn.execute(
            "select table_schema, table_name, ordinal_position, column_name, data_type, "
            "case when table_name not like '%%bars\\__m' then is_nullable end, column_default, is_identity "
            f"from information_schema.columns where {relations} order by 1, 2, 3",
            (sorted(INTERNAL),),
        ).fetchall(),
        "comments": conn.execute(
            "select relname, attname, coalesce(col_description(pg_class.oid, attnum), "
            "obj_description(pg_class.oid, 'pg_class')) from pg_class join pg_attribute on attrelid = pg_class.oid "
            "where relnamespace = 'public'::regnamespace and attnum > 0 and relkind in ('r', 'p', 'v') "
            "order by 1, attnum"
        ).fetchall(),
        "constraints": conn.execute(
            "select conrelid::regclass::text, conname, pg_get_constraintdef(pg_constraint.oid) "
            "from pg_constraint join pg_class on pg_class.oid = conrelid "
            "where contype in ('p', 'u', 'c') and (relnamespace = 'public'::regnamespace "
            "or (relnamespace = 'tickline'::regnamespace and relname = any(%s))) order by 1, 2",
            (sorted(INTERNAL),),
        ).fetchall(),
        "routines": conn.execute(
            "select proname, prokind, pg_get_function_arguments(oid), pg_get_function_result(oid) from pg_proc "
            "where pronamespace = 'tickline'::regnamespace and proname <> all(%s) order by 1",
            (sorted(OF_ONE_ENGINE),),
        ).fetchall(),
    }


def test_schema_either_engine_has_the_public_relations(conn_to_read: psycopg.Connection[Any]) -> None:
    rows = conn_to_read.execute("select table_name from information_schema.tables where table_schema = 'public'")
    assert {name for (name,) in rows} == PUBLIC


def test_schema_two_engines_are_identical(conn_to_read: psycopg.Connection[Any], engine: str) -> None:
    # One server runs at a time: each engine is compared with those looked at before it.
    for seen in _seen.values():
        for what, described in describe(conn_to_read).items():
            assert described == seen[what], what
    _seen[engine] = describe(conn_to_read)


def test_ticks_columns_are_those_of_the_writer(conn_to_read: psycopg.Connection[Any]) -> None:
    rows = conn_to_read.execute(
        "select column_name, data_type from information_schema.columns "
        "where table_schema = 'public' and table_name = 'ticks' order by ordinal_position"
    ).fetchall()
    assert rows == [(name, TYPE_NAMES[kind]) for name, kind in TICK_COLUMNS]


def test_schema_every_public_column_has_a_comment(conn_to_read: psycopg.Connection[Any]) -> None:
    bare = conn_to_read.execute(
        "select relname, attname from pg_class join pg_attribute on attrelid = pg_class.oid "
        "where relnamespace = 'public'::regnamespace and attnum > 0 and not attisdropped "
        "and relkind in ('r', 'p', 'v') and col_description(pg_class.oid, attnum) is null"
    ).fetchall()
    assert bare == []


@pytest.mark.parametrize("relation", ["bars_1m", "bars_5m", "best_bars_1m", "best_bars_5m"])
def test_bars_end_with_volatility_and_greeks(conn_to_read: psycopg.Connection[Any], relation: str) -> None:
    rows = conn_to_read.execute(
        "select column_name, data_type from information_schema.columns "
        "where table_schema = 'public' and table_name = %s order by ordinal_position desc limit 3",
        (relation,),
    ).fetchall()
    assert rows == [(name, "double precision") for name in ("gamma", "delta", "iv")]


@pytest.mark.parametrize(
    "question",
    [
        "top_movers(60)",
        "last_session()",
        "latest_ticks",
        "bars(null::integer[], '1m')",
        "bars(null::integer[], '1d')",
    ],
)
def test_questions_of_an_empty_database_find_nothing(conn_to_read: psycopg.Connection[Any], question: str) -> None:
    assert conn_to_read.execute(f"select * from {question} as found where found is not null".encode()).fetchall() == []


def test_upgrade_repeated_does_nothing(empty_database: Database) -> None:
    assert apply.upgrade(empty_database) == REVISIONS
    assert apply.upgrade(empty_database) == []


BARS = "select * from bars_1m order by bucket", "select * from bars_5m order by bucket"


DROPPED = {"one day": ["2026-01-05"], "both": ["2026-01-05", "2026-01-06"]}
# The first, the one before bars were kept, and the last; the others in the long run.
SHORT = {(REVISIONS[0], "both"), ("0002", "one day"), (REVISIONS[-2], "both")}
OLDER = [
    pytest.param(revision, days, id=f"{revision}-{name}", marks=[] if (revision, name) in SHORT else pytest.mark.soak)
    for revision in REVISIONS[:-1]
    for name, days in DROPPED.items()
]


@pytest.mark.parametrize(("older", "dropped"), OLDER, indirect=["older"])
def test_upgrade_keeps_what_is_there_and_the_bars_of_days_whose_ticks_were_dropped(
    older: Database, dropped: list[str]
) -> None:
    with older.connect(autocommit=True) as conn:
        conn.execute("insert into instruments (instrument_key) values ('NSE_EQ|1')")
        conn.execute(
            "insert into tickline.rejected_ticks (collector, segment, end_offset, seq, tick, reason)"
            " values ('default', '1/s', 1, 1, '{}', 'no instrument key')"
        )
        for day in ("2026-01-05", "2026-01-06"):
            conn.execute("select tickline.ensure_partitions(%s, %s)", (day, day))
            conn.execute(
                "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
                "select %s::timestamptz + n * interval '20 seconds', 1, n, true, n, n * 10, 10, now() "
                "from generate_series(1, 60) as n",
                (f"{day} 04:00+00",),
            )
        # The count is reset within the last minute: 35 are traded behind it.
        conn.execute("update ticks set vtt = 70, volume = 35 where ts = '2026-01-06 04:20+00'")
        conn.execute(queries.query("store/refresh_bars"), {"from_ts": "2026-01-05", "to_ts": "2026-01-07"})
        for day in dropped:
            conn.execute("insert into days (day, dropped_at) values (%s, now())", (day,))
            conn.execute(queries.query("database/drop_day"), {"day": day})
        before = [conn.execute(statement).fetchall() for statement in BARS]
        with pytest.raises(SchemaError, match=r"older than .*: run `tickline db upgrade`"):
            _ = Database(older.url, None).engine
        assert apply.upgrade(older)[-1] == HEAD
        assert [conn.execute(statement).fetchall() for statement in BARS] == before
        for _ in range(2):
            conn.execute(queries.query("store/refresh_bars"), {"from_ts": "2026-01-05", "to_ts": "2026-01-07"})
        after = [conn.execute(statement).fetchall() for statement in BARS]
        volume = 6
        assert [[row[:volume] for row in rows] for rows in after] == [[row[:volume] for row in rows] for rows in before]
        reset = 35 if len(dropped) == 1 else before[0][-1][volume]
        assert [row[volume] for row in after[0]] == [20, *([30] * 19), 10, 20, *([30] * 19), reset]
        assert conn.execute("select instrument_key from instruments").fetchall() == [("NSE_EQ|1",)]
        rejected = conn.execute("select seq, reason, updates, held_back from tickline.rejected_ticks").fetchall()
        assert rejected == [(1, "no instrument key", 1, False)]


@pytest.mark.parametrize("engine", ["timescale"], indirect=True)  # the other shows its bars in the same transaction
def test_upgrade_that_was_killed_before_kept_bars_were_shown_is_finished_by_the_next(
    database: Database, conn: psycopg.Connection[Any]
) -> None:
    conn.execute(
        "do $$ begin execute (select format('insert into %I.%I (instrument_id, bucket, close) "
        "values (1, ''2026-01-05 04:00+00'', 7)', materialization_hypertable_schema, materialization_hypertable_name) "
        "from timescaledb_information.continuous_aggregates where view_name = 'bars_1m'); end $$"
    )
    assert conn.execute("select close from bars_1m").fetchall() == []
    for _ in range(2):
        assert apply.upgrade(database) == []
        assert conn.execute("select close from bars_1m").fetchall() == [(7,)]
        assert conn.execute("select from tickline.tick_days()").fetchall() == []


def test_upgrade_two_processes_at_once_make_one_schema(empty_database: Database, engine: str) -> None:
    environment = os.environ | {"TICKLINE_DATABASE_URL": empty_database.url, "TICKLINE_ENGINE": engine}

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return run_command(["db", "upgrade"], cwd=queries.ROOT.parent, environment=environment, timeout_s=120)

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(run, range(2)))
    assert [run.returncode for run in runs] == [0, 0], [run.stderr for run in runs]
    made = f"schema {HEAD}, engine {engine}"
    assert sorted(run.stdout.strip() for run in runs) == [
        f"applied {', '.join(REVISIONS)}: {made}",
        f"nothing to do: {made}",
    ]


def test_upgrade_by_an_owner_of_any_name_works(empty_database: Database, engine: str, template: Template) -> None:
    dbname = empty_database.url.split("?")[0].rsplit("/", 1)[1]
    owner = f"owner_{dbname}"
    with template.admin() as admin:
        admin.execute(f"create role {owner} login")
        admin.execute(f"alter database {dbname} owner to {owner}")
    as_owner = Database(make_conninfo(empty_database.url, user=owner), None)
    assert apply.upgrade(as_owner)[-1] == HEAD
    assert as_owner.engine == engine
    assert status(as_owner).relations


def test_engine_without_schema_names_the_remedy(empty_database: Database) -> None:
    with pytest.raises(SchemaError, match="no tickline schema: run `tickline db upgrade`"):
        _ = empty_database.engine


def test_engine_newer_schema_is_refused(database: Database, conn: psycopg.Connection[Any]) -> None:
    conn.execute("update tickline.alembic_version set version_num = '9999'")
    for action in (lambda: database.engine, lambda: apply.upgrade(database)):
        with pytest.raises(SchemaError, match=f"'9999', newer than this program's '{HEAD}'"):
            action()
    assert status(database).revision == "9999"


@on_one_engine
def test_reader_waits_for_a_schema_that_is_being_made(empty_database: Database) -> None:
    """Right after a first start: the server is up, the upgrade has just begun or is about to."""

    def make() -> None:
        time.sleep(0.3)
        apply.upgrade(empty_database)

    with ThreadPoolExecutor(1) as pool, empty_database.connect() as reader:
        making = pool.submit(make)
        check_schema(reader)
        assert revision(reader) == HEAD
        making.result()


def test_engine_older_schema_names_the_remedy(database: Database, conn: psycopg.Connection[Any]) -> None:
    conn.execute("update tickline.alembic_version set version_num = '0000'")
    with pytest.raises(SchemaError, match=r"older than .*: run `tickline db upgrade`"):
        _ = database.engine


def test_engine_other_than_recorded_is_refused(database_to_read: Database, engine: str) -> None:
    other = "postgres" if engine == "timescale" else "timescale"
    with pytest.raises(ConfigError, match=f"uses engine '{engine}' but settings say '{other}': set TICKLINE_ENGINE"):
        _ = Database(database_to_read.url, None, other).engine
    with pytest.raises(ConfigError):
        apply.upgrade(database_to_read, other)


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_upgrade_timescale_where_it_is_not_loaded_says_what_is_missing(empty_database: Database) -> None:
    with pytest.raises(ConfigError, match="engine 'timescale' is not available"):
        apply.upgrade(Database(empty_database.url, None), "timescale")


def test_status_fresh_schema_lists_relations(database_to_read: Database, engine: str) -> None:
    found = status(database_to_read)
    assert (found.engine, found.revision, found.head) == (engine, HEAD, HEAD)
    tables = {"instruments", "ticks", "bars_1m", "bars_5m", "official_bars_1m", "feed_gaps", "signals"} | {
        "unheard_minutes",
        "days",
        "depth",
        "official_days",
        "labels",
    }
    assert {relation.name for relation in found.relations if "." not in relation.name} == tables
    assert "tickline.ledger" in {relation.name for relation in found.relations}
    assert (found.timescaledb_version is not None) == (engine == "timescale")
    assert {job.relation for job in found.jobs} == (CONVERTED if engine == "timescale" else set())


def test_status_empty_database_has_no_revision(empty_database: Database) -> None:
    found = status(empty_database)
    assert (found.engine, found.revision, found.relations, found.days) == (None, None, [], None)


def test_ddl_head_is_the_newest_folder_and_revision() -> None:
    folders = sorted(path.name for path in (queries.ROOT / "ddl").iterdir() if path.is_dir())
    revisions = sorted(path.name[:4] for path in (apply.script_location() / "versions").glob("*.py"))
    assert folders == revisions
    assert folders[-1] == HEAD


def test_migrations_hold_no_sql() -> None:
    for path in (apply.script_location() / "versions").glob("*.py"):
        text = path.read_text().lower()
        assert not any(word in text for word in ("create ", "alter ", "select ", "op.execute")), path


def test_alembic_folder_does_not_shadow_the_package() -> None:
    root = queries.ROOT.parent
    assert not (root / "alembic" / "__init__.py").exists()
    done = subprocess.run(
        [sys.executable, "-c", "import alembic; print(alembic.__file__)"],
        capture_output=True, text=True, cwd=root, timeout=30, check=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()).parent != root / "alembic"


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("select 1/0", Rejected),
        ("insert into instruments (instrument_key, lot_size) values ('K', 1), ('K', 2)", Rejected),
        ("select now() from nowhere", SchemaError),
        ("select nothing from ticks", SchemaError),
        ("select pg_terminate_backend(pg_backend_pid())", Retryable),
        ("set transaction read only; delete from signals", Retryable),
        ("selct 1", StoreError),
    ],
)
def test_translate_by_sqlstate(database_to_read: Database, statement: str, kind: type[StoreError]) -> None:
    connection = database_to_read.connect()
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement)
    assert type(translate(caught.value)) is kind
    connection.close()


def test_connect_unreachable_server_names_it_and_no_password() -> None:
    with pytest.raises(Retryable, match=r"database at '127\.0\.0\.1:1' cannot be reached") as caught:
        connect("postgresql://user:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_connect_unknown_database_is_not_retried(template: Any) -> None:
    with pytest.raises(StoreError, match="refused the connection") as caught:
        connect(template.url_of("nowhere"))
    assert type(caught.value) is StoreError


def test_connect_wrong_url_is_one_line_without_password() -> None:
    with pytest.raises(ConfigError, match="TICKLINE_DATABASE_URL is not a libpq URL") as caught:
        connect("hunter2 at home")
    assert "hunter2" not in str(caught.value)


def test_settings_wrong_engine_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLINE_ENGINE", "oracle")
    with pytest.raises(ConfigError) as caught:
        load(DatabaseSettings)
    assert str(caught.value) == (
        "setting TICKLINE_ENGINE has the wrong value 'oracle': input should be 'timescale' or 'postgres'"
    )


def test_partitions_two_sessions_at_once_make_each_once(database: Database, engine: str) -> None:
    def ensure(_: int) -> int:
        with database.connect(autocommit=True) as connection:
            row = connection.execute("select tickline.ensure_partitions('2026-01-01', '2026-01-20 05:00+05:30')")
            return int((row.fetchone() or [0])[0])

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(ensure, range(4)))
    # 05:00 in India is still the day before in UTC.
    assert sum(made) == (19 if engine == "postgres" else 0)
