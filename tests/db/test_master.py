"""The vendor's real master and the universe commands, on both engines."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from itertools import product
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
from ingest.errors import ConfigError, FeedError
from ingest.market.calendar import Calendar, SegmentState
from ingest.market.time import moment
from ingest.settings import settings
from ingest.simulator.recorded import RecordedMarket
from ingest.simulator.server.app import Simulator
from ingest.store.writer import Writer
from ingest.universe.calendar_file import load_calendar, refresh_calendar
from ingest.universe.instrument_master import load_master
from ingest.universe.keeper import UniverseKeeper
from ingest.universe.resolved_names import recalled
from ingest.upstox.rest import UpstoxApi
from tests.data import data_file
from tests.engines import on_one_engine
from tests.simulated import NOWHERE

MASTER = "instruments-NSE-20251223.json.gz"
SESSION = "session-20251215-open.frames.gz"
NOON = datetime(2025, 12, 23, 6, 30, tzinfo=UTC)


def test_master_real_file_loads_and_resolves(conn: psycopg.Connection[Any]) -> None:
    data = data_file(MASTER).read_bytes()
    assert load_master(conn, data, "file").rows == 77_709
    names = ["INFY", "NIFTY FUT", "BANKNIFTY 59400 CE 30 DEC 25"]
    recorded = sorted(RecordedMarket(data_file(SESSION)).keys)
    found = resolve(conn, names + recorded, on=date(2025, 12, 23))
    assert [instrument.trading_symbol for instrument in found[:3]] == ["INFY", "NIFTY FUT 30 DEC 25", names[2]]
    assert [instrument.instrument_key for instrument in found[3:]] == recorded
    assert load_master(conn, data, "file").rows == 77_709
    assert conn.execute("select count(*) from instruments").fetchone() == (77_709,)
    assert conn.execute("select count(*) from tickline.instrument_terms").fetchone() == (0,)


def row(expiry: date, symbol: str, lot: int) -> dict[str, Any]:
    ends = int(moment(expiry, datetime.max.time()).timestamp()) * 1000
    return {
        "instrument_key": "NSE_FO|1",
        "segment": "NSE_FO",
        "instrument_type": "FUT",
        "trading_symbol": symbol,
        "underlying_key": "NSE_INDEX|Nifty 50",
        "lot_size": lot,
        "tick_size": 5.0,
        "expiry": ends,
    }


def test_master_reused_token_and_changed_lot_keep_both_histories(conn: psycopg.Connection[Any]) -> None:
    december, march = date(2025, 12, 30), date(2026, 3, 31)
    masters = [[row(december, "NIFTY FUT 30 DEC 25", 75)], [row(december, "NIFTY FUT 30 DEC 25", 65)]]
    masters.append([row(march, "NIFTY FUT 31 MAR 26", 65)])
    for master in masters:
        load_master(conn, json.dumps(master).encode(), "test")
    stored = conn.execute("select expiry, lot_size, valid_to is null from instruments order by expiry").fetchall()
    assert stored == [(december, 65, False), (march, 65, True)]
    terms = conn.execute("select lot_size, tick_size from tickline.instrument_terms").fetchall()
    assert terms == [(75, 0.05)]
    found = [resolve(conn, ["NSE_FO|1"], on=day)[0].expiry for day in (december, date(2026, 1, 5))]
    assert found == [december, march]


def load(conn: psycopg.Connection[Any], day: date, *rows: dict[str, Any]) -> None:
    source = str(conn.execute("select count(*) from tickline.master_loads").fetchone())
    load_master(conn, json.dumps(rows).encode(), source, moment(day, time_of_day(6, 30)))


def register(conn: psycopg.Connection[Any], database: Database, day: date, key: str = "NSE_FO|1") -> int:
    """Return the instrument that ticks of a day belong to."""
    with Writer(database.url, "test") as writer:
        return writer.register([key], day, 5)[0].instrument_id


@pytest.mark.parametrize("to", [date(2026, 12, 30), date(2027, 1, 1)])
def test_master_moved_expiry_is_the_same_contract_with_new_terms(
    conn: psycopg.Connection[Any], database: Database, to: date
) -> None:
    load(conn, date(2026, 12, 1), row(date(2026, 12, 31), "NIFTY FUT 31 DEC 26", 75))
    before = register(conn, database, date(2026, 12, 1))
    load(conn, date(2026, 12, 2), row(to, f"NIFTY FUT {to:%d %b %y}".upper(), 65))
    assert register(conn, database, date(2026, 12, 2)) == before
    assert conn.execute("select expiry, lot_size, valid_to from instruments").fetchall() == [(to, 65, None)]
    terms = conn.execute("select trading_symbol, lot_size, expiry from tickline.instrument_terms").fetchall()
    assert terms == [("NIFTY FUT 31 DEC 26", 75, date(2026, 12, 31))]


@pytest.mark.parametrize(
    ("loaded", "changed"),
    [
        pytest.param(date(2026, 12, 31), {}, id="the old expiry is over"),
        pytest.param(date(2026, 12, 2), {"strike_price": 24_000.0, "instrument_type": "CE"}, id="another type"),
        pytest.param(date(2026, 12, 2), {"underlying_key": "NSE_EQ|SBIN"}, id="another underlying"),
    ],
)
def test_master_reused_token_is_no_moved_expiry(
    conn: psycopg.Connection[Any], database: Database, loaded: date, changed: dict[str, Any]
) -> None:
    load(conn, date(2026, 12, 1), row(date(2026, 12, 30), "NIFTY FUT 30 DEC 26", 75))
    before = register(conn, database, date(2026, 12, 1))
    load(conn, loaded, row(date(2027, 1, 5), "SBIN FUT 05 JAN 27", 750) | changed)
    assert register(conn, database, loaded) != before


def test_ticks_without_a_master_are_named_by_that_of_their_days_and_no_other(
    conn: psycopg.Connection[Any], database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A recording of October, replayed without its list; in November another contract has its key."""
    october, november = date(2026, 10, 12), date(2026, 11, 27)
    ticked = register(conn, database, october)
    load(conn, november, row(date(2026, 12, 29), "SBIN FUT 29 DEC 26", 750))
    assert "keep their key for a name" in caplog.text and "first=NSE_FO|1" in caplog.text
    assert register(conn, database, october) == ticked != register(conn, database, november)
    assert resolve(conn, ["NSE_FO|1"], on=october)[0].trading_symbol is None
    assert resolve(conn, ["NSE_FO|1"], on=november)[0].trading_symbol == "SBIN FUT 29 DEC 26"
    assert conn.execute("select trading_symbol from instruments where instrument_id = %s", (ticked,)).fetchone() == (
        None,
    )
    caplog.clear()
    load(conn, november, row(date(2026, 12, 29), "SBIN FUT 29 DEC 26", 750))
    assert not caplog.text  # said once


def test_ticks_of_a_day_long_before_the_master_are_not_those_of_its_contract(
    conn: psycopg.Connection[Any], database: Database
) -> None:
    load(conn, date(2026, 11, 27), row(date(2026, 12, 29), "SBIN FUT 29 DEC 26", 750))
    ticked = register(conn, database, date(2026, 10, 12))
    assert resolve(conn, ["NSE_FO|1"], on=date(2026, 10, 12))[0].instrument_id == ticked
    assert ticked != register(conn, database, date(2026, 11, 27))


@pytest.mark.parametrize("met", [date(2026, 11, 27), date(2026, 11, 24)])
def test_ticks_recorded_before_the_list_came_get_its_name(
    conn: psycopg.Connection[Any], database: Database, met: date
) -> None:
    ticked = register(conn, database, met)
    load(conn, date(2026, 11, 27), row(date(2026, 12, 29), "NIFTY FUT 29 DEC 26", 75))
    assert register(conn, database, date(2026, 11, 27)) == ticked
    assert resolve(conn, ["NIFTY FUT"], on=met)[0].instrument_id == ticked


def test_master_of_an_earlier_day_ends_nothing_that_was_not_known_then(conn: psycopg.Connection[Any]) -> None:
    today = row(date(2027, 1, 26), "NIFTY FUT 26 JAN 27", 65) | {"instrument_key": "NSE_FO|2"}
    load(conn, date(2026, 12, 29), today)
    load(conn, date(2026, 12, 29), row(date(2026, 10, 27), "NIFTY FUT 27 OCT 26", 75))
    found = conn.execute("select instrument_key from instruments where valid_to is null and expiry > '2026-12-01'")
    assert found.fetchall() == [("NSE_FO|2",)]


@on_one_engine
def test_look_takes_keys_without_a_list_and_skips_unknown_names(
    database: Database, conn: psycopg.Connection[Any], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def look(universe: str) -> dict[str, str]:
        config = settings(home=home, universe=universe, underlyings="")
        return UniverseKeeper(config, database.url).look(NOON).keys

    assert look("NSE_FO|50904") == {"NSE_FO|50904": "full"}
    assert "no list of instruments has key 'NSE_FO|50904'" in caplog.text
    with pytest.raises(ConfigError, match="'NOSUCH'.*no instruments are loaded"):
        look("NOSUCH")
    load_master(conn, data_file(MASTER).read_bytes(), "file")
    caplog.clear()
    assert look("INFY,NOSUCH") == {"NSE_EQ|INE009A01021": "full"}
    assert "name skipped: unknown instrument 'NOSUCH'" in caplog.text
    with pytest.raises(ConfigError, match="unknown instrument 'INFI'.*'INFY'"):
        look("INFI")


@on_one_engine
def test_look_skips_unknown_underlyings_and_knows_those_that_have_left(
    database: Database, conn: psycopg.Connection[Any], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def look(underlyings: str, exclude: str = "", universe: str = "") -> set[str]:
        config = settings(home=home, universe=universe, underlyings=underlyings, underlyings_exclude=exclude, futures=1)
        return set(UniverseKeeper(config, database.url).look(NOON).keys)

    with pytest.raises(ConfigError, match="'NIFTY' of TICKLINE_UNDERLYINGS .*no instruments are loaded"):
        look("NIFTY", exclude="INFY")
    assert look("NIFTY", universe="NSE_FO|50904") == {"NSE_FO|50904"}
    load_master(conn, data_file(MASTER).read_bytes(), "file")
    caplog.clear()
    assert look("INFY,NIFTI") == look("INFY") != set()
    assert "underlying skipped: underlying 'NIFTI' of TICKLINE_UNDERLYINGS" in caplog.text
    assert "the nearest is 'NIFTY'" in caplog.text
    with pytest.raises(ConfigError, match="'NIFTI' of TICKLINE_UNDERLYINGS .*the nearest is 'NIFTY'"):
        look("NIFTI")
    with pytest.raises(ConfigError, match="'TCSS' of TICKLINE_UNDERLYINGS_EXCLUDE .*the nearest is 'TCS'"):
        look("INFY", exclude="TCSS")
    # The list of a day without it: it has left, and is no slip of the pen.
    [tcs] = resolve(conn, ["TCS"], on=NOON.date())
    conn.execute(
        "update instruments set valid_to = %s where underlying_key = %s and instrument_type in ('FUT', 'CE', 'PE')",
        (NOON, tcs.instrument_key),
    )
    for name in ("tcs", tcs.instrument_key):
        caplog.clear()
        caplog.set_level("INFO")
        assert look("INFY", exclude=name) == look("INFY")
        assert "has no futures any more" in caplog.text


@on_one_engine
def test_look_remembers_what_names_mean_for_a_start_without_the_database(
    database: Database, conn: psycopg.Connection[Any], home: Path
) -> None:
    load_master(conn, data_file(MASTER).read_bytes(), "file")
    config = settings(home=home, universe="NIFTY FUT,NOSUCH", underlyings="INFY,BANKNIFTY", futures=1, option_strikes=1)
    keeper = UniverseKeeper(config, database.url)
    keeper.look(NOON)
    keeper._prices["NSE_INDEX|Nifty Bank"] = 59_412.0
    found = keeper.look(NOON + timedelta(minutes=1)).keys
    assert len(found) == 1 + 2 + 2 + 3 * 2
    assert recalled(config) == found
    assert set(recalled(settings(home=home, universe=(), underlyings="INFY"))) < set(found)


@on_one_engine
def test_look_gives_rules_and_names(database: Database, conn: psycopg.Connection[Any], home: Path) -> None:
    load_master(conn, data_file(MASTER).read_bytes(), "file")
    config = settings(
        home=home, universe="INFY", underlyings="BANKNIFTY,NIFTY", futures=1, option_strikes=2, options_mode="ltpc"
    )
    keeper = UniverseKeeper(config, database.url)
    found = keeper.look(NOON)
    assert found.unpriced == ("BANKNIFTY", "NIFTY")
    assert len(found.keys) == 2 + 2 + 1
    assert found.keys["NSE_EQ|INE009A01021"] == "full"
    supposed = keeper.supposed(found, NOON)
    assert supposed.unpriced == () and len(supposed.keys) == 5 + 2 * 5 * 2
    with pytest.raises(ConfigError, match="TICKLINE_UNDERLYINGS"):
        UniverseKeeper(settings(home=home, universe="", underlyings=""), database.url).look(NOON)


@on_one_engine
def test_look_follows_the_spot_and_rolls_at_the_close_of_expiry(
    database: Database, conn: psycopg.Connection[Any], home: Path
) -> None:
    load_master(conn, data_file(MASTER).read_bytes(), "file")
    [spot] = resolve(conn, ["BANKNIFTY"], on=NOON.date())
    conn.execute("insert into tickline.active_instruments values (%s, %s)", (spot.instrument_id, NOON))
    config = settings(home=home, universe="NIFTY FUT", underlyings="BANKNIFTY", futures=1, option_strikes=1)
    keeper = UniverseKeeper(config, database.url)

    def look(at: datetime, price: float) -> tuple[list[str], list[float]]:
        conn.execute(query("shared/ensure_partitions"), {"start": at, "end": at})
        conn.execute(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, received_at) values (%s, %s, 1, true, %s, %s)",
            (at, spot.instrument_id, price, at),
        )
        found = resolve(conn, list(keeper.look(at).keys), on=keeper.calendar.contract_day(at))
        futures = [str(one.trading_symbol) for one in found if one.instrument_type == "FUT"]
        return futures, sorted({one.strike for one in found if one.strike})

    december = ["BANKNIFTY FUT 30 DEC 25", "NIFTY FUT 30 DEC 25"]
    minute = timedelta(minutes=1)
    assert look(NOON, 59_412.0) == (december, [59_300.0, 59_400.0, 59_500.0])
    assert look(NOON + minute, 59_474.0) == (december, [59_300.0, 59_400.0, 59_500.0])  # 24 past the middle: not yet
    assert look(NOON + 2 * minute, 59_476.0) == (december, [59_400.0, 59_500.0, 59_600.0])
    assert look(NOON + 3 * minute, 59_430.0) == (december, [59_400.0, 59_500.0, 59_600.0])
    close = moment(date(2025, 12, 30), time_of_day(15, 30))
    assert look(close - minute, 59_500.0)[0] == december
    assert look(close, 59_500.0) == (
        ["BANKNIFTY FUT 27 JAN 26", "NIFTY FUT 27 JAN 26"],
        [59_400.0, 59_500.0, 59_600.0],
    )


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
        for start in range(0, len(body), 32):
            await response.write(body[start : start + 32])
            await asyncio.sleep(0.1)
        return response

    async def looked(names: str) -> list[int]:
        """Look twice; return how many lists were loaded after each."""
        runner = web.AppRunner(app := web.Application())
        app.router.add_get("/{path:.*}", trickle)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        config = settings(
            home=home,
            universe=names,
            http_timeout_s=0.2,
            backoff_max_s=0.01,
            upstox_assets_url=url,
            upstox_api_url=NOWHERE,
        )
        keeper, loads = UniverseKeeper(config, database.url), []
        for _ in range(2):
            await keeper.wanted(now)
            loads.append(conn.execute("select count(*) from tickline.master_loads").fetchone()[0])
        await runner.cleanup()
        conn.execute("update tickline.master_loads set loaded_at = loaded_at - interval '30 hours'")
        return loads

    assert asyncio.run(looked("NSE_FO|1")) == [0, 1]
    assert "not there after 0.2 s" in caplog.text
    assert asyncio.run(looked("NIFTY FUT")) == [1, 2]
    conn.execute("delete from tickline.master_loads")
    assert asyncio.run(looked("NIFTY FUT 29 JAN 30")) == [1, 1]


@on_one_engine
def test_refresh_asks_once_a_day_after_the_master_is_made(database: Database, home: Path) -> None:
    async def days() -> list[int]:
        async with Simulator(RecordedMarket(data_file(SESSION))) as simulator:
            config = settings(home=home, upstox_api_url=simulator.url, upstox_assets_url=simulator.url)
            keeper, loads = UniverseKeeper(config, database.url), []
            tomorrow = datetime.now(UTC) + timedelta(days=1)
            for now in (datetime.now(UTC), datetime.now(UTC) + timedelta(minutes=20), tomorrow):
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
    code, text = run("show", "--format", "csv", TICKLINE_OPTION_STRIKES="0")
    assert (
        code == 0 and "NSE_FO|1,full,NIFTY FUT 29 DEC 99" in text and "instrument master: the last one is of " in text
    )


OPTION = {"instrument_type": "CE"}


def option(number: int) -> dict[str, Any]:
    return {
        "instrument_key": f"NSE_FO|{number + 2}",
        "trading_symbol": f"NIFTY {number + 1} CE 29 DEC 99",
        "strike_price": number + 1.0,
    }


@on_one_engine
def test_rules_know_the_contracts_of_the_exchanges_that_are_named(
    database: Database, conn: psycopg.Connection[Any], home: Path
) -> None:
    expiry = date(2026, 1, 27)
    sensex = {"segment": "BSE_FO", "underlying_key": "BSE_INDEX|SENSEX", "exchange": "BSE"}
    rows = [
        {"instrument_key": "BSE_INDEX|SENSEX", "segment": "BSE_INDEX", "trading_symbol": "SENSEX", "exchange": "BSE"}
        | {"instrument_type": "INDEX"},
        row(expiry, "SENSEX FUT 27 JAN 26", 20) | sensex | {"instrument_key": "BSE_FO|1"},
    ]
    for number, (strike, kind) in enumerate(product((84_000.0, 84_100.0, 84_200.0), ("CE", "PE")), 2):
        option = row(expiry, f"SENSEX {strike:g} {kind} 27 JAN 26", 20) | sensex | {"strike_price": strike}
        rows.append(option | {"instrument_key": f"BSE_FO|{number}", "instrument_type": kind})
    load_master(conn, json.dumps(rows).encode(), "bse")
    load_master(conn, json.dumps([row(expiry, "NIFTY FUT 27 JAN 26", 65)]).encode(), "nse")
    named = {"home": home, "universe": "", "underlyings": "SENSEX", "futures": 1, "option_strikes": 0}
    with pytest.raises(ConfigError, match="SENSEX"):
        UniverseKeeper(settings(**named), database.url).look(NOON)
    keeper = UniverseKeeper(settings(**named, exchanges="NSE,BSE"), database.url)
    assert keeper.look(NOON).unpriced == ("SENSEX",)
    keeper._prices["BSE_INDEX|SENSEX"] = 84_110.0
    assert set(keeper.look(NOON).keys) == {"BSE_INDEX|SENSEX", "BSE_FO|1", "BSE_FO|4", "BSE_FO|5"}
