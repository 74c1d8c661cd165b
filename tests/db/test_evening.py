"""The evening job beside a real recording: real commands, on days that are really there."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from ingest.database.connections import Database
from ingest.live.evening import Evening, commands
from ingest.live.observe.health import health
from ingest.live.status import websocket_status
from tests.db.test_retention import add_ticks, refresh
from tests.engines import on_one_engine
from tests.fault.live import DAY, Running, market, running, until

Connection = psycopg.Connection[Any]
OLD = DAY - timedelta(days=30)
KEPT = max((datetime.now(UTC).date() - DAY).days, 0) + 10  # the day that the simulator plays stays


def days_of(conn: Connection) -> set[date]:
    return {day for (day,) in conn.execute("select * from tickline.tick_days()").fetchall()}


@pytest.fixture
def old(conn: Connection) -> Connection:
    """A database with a day that may go once it is exported."""
    conn.execute("insert into instruments (instrument_key) values ('NSE_EQ|OLD')")
    add_ticks(conn, OLD, count=200)
    refresh(conn, OLD, OLD + timedelta(days=1))
    return conn


def warnings(run: Running) -> list[str]:
    """What health says of the evening."""
    return [text for text in health(run.ingestion)["warnings"] if text.startswith("evening")]


@on_one_engine
def test_evening_fails_and_is_ended_at_no_cost_and_then_exports_and_drops(
    old: Connection, database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.live.evening.NICE", "0")  # beside the other tests it would wait

    async def run() -> None:
        given: dict[str, Any] = {"database_url": SecretStr(database.url), "retain_days": KEPT}
        async with running(database, home, market(12, 20.0), **given) as run:
            await run.live()
            evening = Evening(run.ingestion, run.config)
            assert websocket_status(run.ingestion)["evening"]["state"] == "waiting"  # the market is open
            monkeypatch.setattr("ingest.live.evening.commands", lambda config: commands(config)[-1:])  # the last one
            await evening.work(OLD, may_go_on=lambda: True)
            assert websocket_status(run.ingestion)["evening"]["state"] == "failed"
            (warning,) = warnings(run)
            assert warning.startswith(f"evening failed: `tickline db retain --keep-days {KEPT}` failed: ")
            assert f"{OLD} stays" in warning and "neither exported nor reconciled" in warning
            assert OLD in days_of(old)
            # The market opens: what waits for a reader is ended, and nobody waits behind it.
            old.execute("update days set reconciled_at = now()")
            old.execute("insert into days (day, reconciled_at) values (%s, now()) on conflict do nothing", (OLD,))
            with database.connect() as reader:
                reader.execute("select count(*) from ticks")
                opens = asyncio.Event()
                working = asyncio.create_task(evening.work(OLD, may_go_on=lambda: not opens.is_set()))
                waits = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
                await until(lambda: bool(old.execute(waits).fetchall()))
                opens.set()
                await working
                (warning,) = warnings(run)
                assert "was ended because the market opens" in warning
                assert OLD in days_of(old)
            monkeypatch.setattr("ingest.live.evening.commands", commands)
            exporting = Evening(run.ingestion, run.config.model_copy(update={"export": True}))
            await exporting.work(OLD, may_go_on=lambda: True)
            found = websocket_status(run.ingestion)
            assert (found["evening"]["state"], found["evening"]["day"]) == ("done", OLD.isoformat()), found["errors"]
            assert (home / "archive" / "ticks" / f"date={OLD}" / "ticks.parquet").is_file()
            assert (warnings(run), OLD in days_of(old)) == ([], False)
            await run.live()  # recording has gone on

    asyncio.run(run())


@on_one_engine
def test_evening_nobody_asked_for_is_none(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home, market(12, 20.0)) as run:
            await run.live()
            assert websocket_status(run.ingestion)["evening"] is None

    asyncio.run(run())
