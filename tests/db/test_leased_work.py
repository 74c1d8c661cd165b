"""What is done once per database: by one of two recorders, then by the other; and at once by a single one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.database.pool import Pool
from ingest.live import background
from ingest.live.distributed.leased_work import ONCE, REPAIR
from ingest.live.status import websocket_status
from ingest.simulator.server.app import Simulator
from ingest.store import lease
from tests.engines import on_one_engine
from tests.fault.harness import NEVER_S, QUICK, Command, RecordProperty, rows, wait_until
from tests.fault.live import Running, market, running, until
from tests.fault.proxy import Proxy

BOTH = [ONCE, REPAIR]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    """Who made bars in this process, in turn."""
    found: list[Pool] = []
    refresh = background.refresh_touched

    async def refreshed(pool: Pool) -> None:
        await refresh(pool)
        found.append(pool)

    monkeypatch.setattr(background, "refresh_touched", refreshed)
    return found


def does_once(run: Running) -> Any:
    return websocket_status(run.ingestion)["does_once"]


@on_one_engine
def test_one_of_two_recorders_makes_and_repairs_bars_and_the_other_when_it_is_killed(
    database: Database, home: Path, made: list[Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "REFRESH_S", 0.05)
    monkeypatch.setattr(lease, "SILENT_S", float(NEVER_S))  # a busy machine does not take it from who lives
    left = "select count(*) from tickline.ledger where collector = 'holder'"

    async def run() -> None:
        async with Simulator(market(12), speed=1.0, connections_max=4) as simulator:
            keys = sorted(simulator.source.keys)
            given = {
                "UPSTOX_API_URL": simulator.url,
                "UPSTOX_ASSETS_URL": simulator.url,
                "UPSTOX_ACCESS_TOKEN": simulator.token,
                "TICKLINE_HOME": str(home / "holder"),
                "TICKLINE_COLLECTOR": "holder",
                "TICKLINE_DATABASE_URL": database.url,
                "TICKLINE_UNIVERSE": ",".join(keys[:6]),
            }
            with Command(home / "holder", "start", **(QUICK | given)) as holder:
                await until(lambda: all(f"lease is held lease={name!r}" in holder.text() for name in BOTH))
                other = Running(simulator, database, home / "other", collector="other", api_port=0, backfill_s=0.05)
                await other.begin(keys[6:])
                await other.live()
                ticks = other.ticks
                await until(lambda: other.ticks > ticks + 50)
                assert (does_once(other), made) == ([], [])
                await until(lambda: rows(database, left) != [(0,)])
                holder.kill()
            await until(lambda: does_once(other) == BOTH)
            # Those of both: the minutes that the killed one has touched are made too.
            bars = "select count(distinct instrument_key) from bars_1m join instruments using (instrument_id)"
            await until(lambda: made and rows(database, bars)[0][0] > 6)
            assert set(made) == {other.ingestion.questions.pool}
            await other.end()

    asyncio.run(run())
    held = "select count(*) from pg_locks where locktype = 'advisory' and classid = 7471 and granted"
    wait_until(lambda: rows(database, held) == [(0,)])  # the server ends a session after its client


@on_one_engine
@pytest.mark.parametrize("within_s", [None, pytest.param(3.0, marks=pytest.mark.soak)])
def test_single_recorder_makes_bars_at_once_when_it_begins_and_when_its_database_is_back(
    database: Database,
    home: Path,
    made: list[Pool],
    monkeypatch: pytest.MonkeyPatch,
    record_property: RecordProperty,
    within_s: float | None,
) -> None:
    monkeypatch.setattr(background, "REFRESH_S", float(NEVER_S))  # what comes sooner is the first of its turn
    seconds: list[float] = []

    async def made_again(since_s: float) -> None:
        count = len(seconds)
        await until(lambda: len(made) > count)
        seconds.append(round(time.monotonic() - since_s, 2))

    async def run() -> None:
        with Proxy(database.url, home / "proxy") as proxy:
            async with running(Database(proxy.url, None), home, market(12, 200.0), collector="single") as one:
                await made_again(time.monotonic())
                await one.live()
                assert does_once(one) == [ONCE]  # repair is not wanted
                proxy.is_away = True
                proxy.cut()
                await until(lambda: one.parts.writer.is_away and does_once(one) == [])
                proxy.is_away = False
                await made_again(time.monotonic())
                await one.live()
                assert one.ingestion.errors.lasting() == {}

    asyncio.run(run())
    record_property("seconds", seconds)
    assert within_s is None or max(seconds) < within_s
