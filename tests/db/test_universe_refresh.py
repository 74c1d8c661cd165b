"""The master and the calendar are fetched, kept and used offline; the universe commands."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web
from click.testing import CliRunner

from ingest.cli import group
from ingest.database.connections import Database
from ingest.database.queries import query
from ingest.database.resolve import resolve
from ingest.errors import FeedError
from ingest.market.calendar import Calendar, SegmentState
from ingest.market.time import moment
from ingest.settings import settings
from ingest.simulator.recorded import RecordedMarket
from ingest.simulator.server.app import Simulator
from ingest.universe.calendar_file import load_calendar, refresh_calendar
from ingest.universe.instrument_master import load_master
from ingest.universe.keeper import UniverseKeeper
from ingest.upstox.rest import UpstoxApi
from tests.data import data_file
from tests.db.masters import NOON, OPTION, SESSION, option, row
from tests.engines import on_one_engine
from tests.simulated import NOWHERE


@on_one_engine
def test_refresh_offline_uses_the_last_good_master_says_its_age_and_does_not_hammer(
    database: Database, conn: psycopg.Connection[Any], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(home=home, upstox_assets_url=NOWHERE, upstox_api_url=NOWHERE, backoff_max_s=0.01)
    now = datetime.now(UTC)
    asyncio.run(UniverseKeeper(config, database.url).refresh(now))
    assert "there is none yet" in caplog.text and "the built-in one is used" in caplog.text
    load_master(conn, gzip.compress(json.dumps([row(date(2026, 1, 27), "NIFTY FUT 27 JAN 26", 65)]).encode()), "file")
    conn.execute("update tickline.master_loads set loaded_at = loaded_at - interval '30 hours'")
    keeper = UniverseKeeper(config, database.url)
    asyncio.run(keeper.refresh(now))
    assert "30.0 hours ago" in caplog.text
    caplog.clear()
    asyncio.run(keeper.refresh(now + timedelta(minutes=9)))
    assert not caplog.text
    asyncio.run(keeper.refresh(now + timedelta(minutes=11)))
    assert "hours ago" in caplog.text


@on_one_engine
def test_slow_list_is_waited_for_where_nothing_begins_without_it(
    database: Database, conn: psycopg.Connection[Any], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row(date(2030, 1, 29), "NIFTY FUT 29 JAN 30", 65)]
    body, now = gzip.compress(json.dumps(rows).encode()), datetime.now(UTC)

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(body), 16):  # 1.0 s in all
            await response.write(body[start : start + 16])
            await asyncio.sleep(0.1)
        return response

    async def looked(names: str, until: int) -> list[int]:
        """Look, and again until so many lists are loaded; return how many were after the first look and the last."""
        runner = web.AppRunner(app := web.Application())
        app.router.add_get("/{path:.*}", trickle)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        config = settings(
            home=home,
            universe=names,
            http_timeout_s=0.5,
            backoff_max_s=0.01,
            upstox_assets_url=url,
            upstox_api_url=NOWHERE,
        )
        keeper, loads = UniverseKeeper(config, database.url), []
        for _ in range(20):  # a busy machine may not have it at the second look
            await keeper.wanted(now)
            loads.append(conn.execute("select count(*) from tickline.master_loads").fetchone()[0])
            if len(loads) > 1 and loads[-1] >= until:
                break
        await runner.cleanup()
        conn.execute("update tickline.master_loads set loaded_at = loaded_at - interval '30 hours'")
        return [loads[0], loads[-1]]

    assert asyncio.run(looked("NSE_FO|1", 1)) == [0, 1]
    assert "not there after 0.5 s" in caplog.text
    assert asyncio.run(looked("NIFTY FUT", 2)) == [1, 2]
    conn.execute("delete from tickline.master_loads")
    assert asyncio.run(looked("NIFTY FUT 29 JAN 30", 1)) == [1, 1]


@on_one_engine
def test_refresh_asks_once_a_day_after_the_master_is_made(database: Database, home: Path) -> None:
    async def days() -> list[int]:
        async with Simulator(RecordedMarket(data_file(SESSION))) as simulator:
            config = settings(home=home, upstox_api_url=simulator.url, upstox_assets_url=simulator.url)
            keeper, loads = UniverseKeeper(config, database.url), []
            noon = datetime.now(UTC).replace(hour=6, minute=30)  # hours behind the master of the day
            tomorrow = noon + timedelta(days=1)
            for now in (noon, noon + timedelta(minutes=20), tomorrow):
                await keeper.refresh(now)
                with database.connect() as connection:
                    loads.append(connection.execute("select count(*) from tickline.master_loads").fetchone()[0])
            assert keeper.calendar.fetched_at == tomorrow
            return loads

    assert asyncio.run(days()) == [1, 1, 2]


def test_calendar_is_fetched_from_the_vendor_kept_and_used_offline(home: Path) -> None:
    now = moment(date(2026, 11, 6), datetime.min.time())
    special = {"exchange": "NFO", "start_time": 1_794_141_000_000, "end_time": 1_794_144_600_000}

    async def fetch() -> Calendar:
        async with Simulator(RecordedMarket(data_file(SESSION))) as simulator:
            muhurat = {"date": "2026-11-08", "holiday_type": "SPECIAL_TIMING", "open_exchanges": [special]}
            simulator.holidays.append(muhurat)
            config = settings(home=home, upstox_api_url=simulator.url)
            async with UpstoxApi(config) as api:
                return await refresh_calendar(api, home, "vendor", now)

    fetched = asyncio.run(fetch())
    stored = load_calendar(home, "vendor")
    assert stored == fetched and stored.fetched_at == now
    at = datetime.fromtimestamp(special["start_time"] / 1000, UTC)
    assert stored.state("NSE_FO", at) is SegmentState.OPEN
    assert stored.hours("NSE_FO", date(2026, 11, 24)) is None
    assert stored.hours("NSE_FO", date(2026, 11, 25)) is not None

    async def offline() -> None:
        async with UpstoxApi(settings(home=home, upstox_api_url=NOWHERE, backoff_max_s=0.01)) as api:
            await refresh_calendar(api, home, "vendor", now)

    with pytest.raises(FeedError, match="cannot reach"):
        asyncio.run(offline())
    assert load_calendar(home, "vendor") == stored
    assert load_calendar(home, "simulator") == Calendar()
    (home / "calendar.json").write_text("{")
    assert load_calendar(home, "vendor") == Calendar()


@on_one_engine
def test_universe_commands_refresh_plan_and_refuse(database: Database, home: Path) -> None:
    # Contracts that live whenever this test runs.
    path = home / "master.json"
    future = row(date(2099, 12, 29), "NIFTY FUT 29 DEC 99", 65)
    path.write_text(json.dumps([future] + [future | OPTION | option(number) for number in range(5000)]))
    env = {
        "TICKLINE_DATABASE_URL": database.url,
        "TICKLINE_HOME": str(home),
        "TICKLINE_UNDERLYINGS": "nifty",
        "TICKLINE_UNIVERSE": "",
        "TICKLINE_OPTION_STRIKES": "",
        "UPSTOX_ASSETS_URL": NOWHERE,
        "TICKLINE_BACKOFF_MAX_S": "0.01",
    }

    def run(*arguments: str, **more: str) -> tuple[int, str]:
        result = CliRunner().invoke(group, ["universe", *arguments], env=env | more)
        return result.exit_code, f"{result.output} {result.exception or ''}"

    assert run("refresh", "--file", str(path)) == (0, f"instrument master: 5,001 instruments from {path}\n ")
    code, text = run("plan")
    assert code == 0 and "connection 1: 2 full of 2,000" in text and "subscribed in 0 s" in text
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "insert into instruments (instrument_key, segment) values ('NSE_INDEX|Nifty 50', 'NSE_INDEX')"
        )
        [spot] = resolve(connection, ["NSE_INDEX|Nifty 50"], on=date(2026, 1, 1))
        connection.execute("insert into tickline.active_instruments values (%s, %s)", (spot.instrument_id, NOON))
        connection.execute(query("shared/ensure_partitions"), {"start": NOON, "end": NOON})
        statement = (
            "insert into ticks (ts, instrument_id, seq, traded, ltp, received_at) values (%s, %s, 1, true, 2500, %s)"
        )
        connection.execute(statement, (NOON, spot.instrument_id, NOON))
    code, text = run("plan", TICKLINE_OPTION_STRIKES="1761")
    assert code == 0 and "connection 1: 2,000 full of 2,000" in text and "connection 2: 1,525 full of 2,000" in text
    code, text = run("plan", TICKLINE_OPTION_STRIKES="2500")
    assert code == 1 and "5,002 full keys do not fit" in text and "room for 4,000, 1,002 too many" in text
    accounts = ("--account", "mumbai", "--account", "chennai=plus,2,standby")
    code, text = run("plan", *accounts, TICKLINE_OPTION_STRIKES="2500")
    assert code == 0 and re.search(r"collector mumbai: 3,\d+ full on a normal account with 2 connection", text)
    assert "on a Plus account with 1 connection(s) and as many that stand by" in text
    assert "5,002 of 5,002 keys on 2 account(s)" in text
    code, text = run("plan", "--account", "mumbai", TICKLINE_OPTION_STRIKES="2500")
    assert code == 1 and "no account has room for 1,002 keys, which are left out: NSE_FO|" in text
    assert run("plan", "--account", "mumbai=gold")[0] == 2
    code, text = run("show", "--format", "csv", TICKLINE_OPTION_STRIKES="0")
    assert (
        code == 0 and "NSE_FO|1,full,NIFTY FUT 29 DEC 99" in text and "instrument master: the last one is of " in text
    )
