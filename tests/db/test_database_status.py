"""`tickline db status`: what an operator asks, on a database of each kind."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from ingest.database import timescaledb
from ingest.database import upgrade as apply
from ingest.database.connections import Database
from ingest.database.embedded import embedded_server
from ingest.database.operations.jobs import jobs_of
from ingest.database.operations.recommended import NAMES, ServerSetting, differences
from ingest.database.operations.retention import note_day
from ingest.database.operations.status import status
from ingest.database.settings import DatabaseSettings, Engine
from ingest.live import background
from ingest.live.observe.health import health
from ingest.live.status import websocket_status
from tests.fault.live import market, running, until

Connection = psycopg.Connection[Any]
OURS = "fsync", "full_page_writes", "autovacuum"  # off on the servers that tests share
BAD = {
    "synchronous_commit": "off",
    "work_mem": "4MB",
    "jit": "on",
    "statement_timeout": "5s",
    "default_transaction_read_only": "on",
}


def test_status_counts_days_and_bytes_a_row(database: Database, conn: Connection) -> None:
    conn.execute("insert into instruments (instrument_key) values ('NSE_EQ|A')")
    days = [date(2025, 12, 15) + timedelta(n) for n in range(3)]
    for day in days:
        start = datetime(day.year, day.month, day.day, 4, tzinfo=UTC)
        conn.execute("select tickline.ensure_partitions(%s, %s)", (start, start))
        conn.execute(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, received_at) "
            "select %s + n * interval '1 s', 1, n, true, 100, now() from generate_series(1, 500) as n",
            (start,),
        )
    conn.execute("analyze ticks")
    note_day(conn, [days[0]], reconciled_at=datetime.now(UTC))
    note_day(conn, [days[0], days[0] - timedelta(1)], exported_at=datetime.now(UTC), exported_to="f", exported_ticks=1)
    note_day(conn, [days[0] - timedelta(1)], dropped_at=datetime.now(UTC))
    found = status(database)
    assert found.days is not None
    assert (found.days.oldest, found.days.newest) == (days[0], days[-1])
    assert (found.days.with_ticks, found.days.unsettled) == (3, 2)
    assert (found.days.exported, found.days.reconciled, found.days.dropped) == (2, 1, 1)
    (ticks,) = (one for one in found.relations if one.name == "ticks")
    assert (ticks.rows, ticks.parts) == (1500, 3)
    assert ticks.bytes_per_row == ticks.bytes / 1500
    sizes = [one.bytes for one in found.relations]
    assert sizes == sorted(sizes, reverse=True)
    assert (found.replication.role, found.replication.wal_level, found.replicas) == ("primary", "minimal", [])


def test_status_names_settings_that_differ_and_no_other(database_to_read: Database, engine: Engine) -> None:
    expected = {*OURS} | ({"timescaledb.max_background_workers"} if engine == "timescale" else set())
    assert {one.name for one in status(database_to_read).settings} == expected
    options = " ".join(f"-c {name}={value}" for name, value in BAD.items())
    worse = status(Database(make_conninfo(database_to_read.url, options=options), None))
    assert {one.name: one.value for one in worse.settings if one.name in BAD} == BAD
    assert {one.name for one in worse.settings} == expected | set(BAD)


def test_buffers_beyond_a_share_of_the_memory_are_named() -> None:
    buffers = [ServerSetting("shared_buffers", "1GB", 2**30, False)]
    assert differences(buffers, None) == differences(buffers, 4 * 2**30) == []
    assert [one.name for one in differences(buffers, 2 * 2**30)] == ["shared_buffers"]


def test_setting_that_waits_for_a_restart_is_named() -> None:
    (found,) = differences([ServerSetting("jit", "off", None, True)], None)
    assert (found.name, found.recommended) == ("jit", "restart the server")


def test_every_recommended_setting_is_one_of_the_server(conn_to_read: Connection, engine: Engine) -> None:
    rows = conn_to_read.execute("select name from pg_settings where name = any(%s)", (NAMES,)).fetchall()
    missing = set(NAMES) - {name for (name,) in rows}
    assert missing == (set() if engine == "timescale" else {"timescaledb.max_background_workers"})


def test_status_as_json_has_all_of_it(database_to_read: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingest.cli import group

    monkeypatch.setenv("TICKLINE_DATABASE_URL", database_to_read.url)
    found = json.loads(CliRunner().invoke(group, ["db", "status", "--format", "json"]).stdout)
    assert {"days", "relations", "jobs", "replication", "replicas", "slots", "settings"} <= set(found)
    assert found["settings"][0].keys() == {"name", "value", "recommended", "why"}
    assert CliRunner().invoke(group, ["db", "status"]).stdout.count("why") == 1


@pytest.mark.skipif(timescaledb.find(DatabaseSettings().timescaledb_dir) is None, reason="TimescaleDB not found")
def test_job_that_fails_is_in_the_status_and_in_health_until_it_succeeds(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an embedded server as it is in production, whose settings are all as recommended."""
    monkeypatch.setattr(background, "JOBS_S", 0.1)
    with embedded_server(home) as server, Database(server.url(), server) as database:
        apply.upgrade(database)
        assert status(database).settings == []
        with database.connect(autocommit=True) as conn:
            conn.execute("create table failing (n int)")
            conn.execute(
                "create procedure archive(job_id int, config jsonb) language plpgsql as "
                "$$ begin if exists (select from failing) then raise 'no room at all'; end if; end $$"
            )
            conn.execute("insert into failing values (1)")
            conn.execute("select add_job('archive', '1 second')")

            async def run() -> None:
                async with running(database, home, market(12, 200.0)) as run:
                    await until(lambda: any("no room at all" in text for text in health(run.ingestion)["warnings"]))
                    assert health(run.ingestion)["status"] == "healthy"
                    (name,) = (part for part in websocket_status(run.ingestion)["errors"] if "archive" in part)
                    assert name.startswith("database job ")
                    (job,) = (job for job in jobs_of(conn) if job.job == "archive")
                    assert (job.name, job.fails, job.last_error) == (name, True, "no room at all")
                    assert job.failures >= 1 and job.last_error_at is not None
                    conn.execute("delete from failing")
                    conn.execute("select alter_job(%s, next_start => now())", (job.job_id,))
                    await until(lambda: health(run.ingestion)["warnings"] == [])
                    assert websocket_status(run.ingestion)["errors"][name]["state"] == "over"

            asyncio.run(run())
            (job,) = (job for job in jobs_of(conn) if job.job == "archive")
            assert (job.fails, job.last_error) == (False, "no room at all")
