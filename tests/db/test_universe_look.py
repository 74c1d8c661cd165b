"""What the rules and names of the settings mean, on both engines: keys, names, the spot, the roll at expiry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.database.connections import Database
from ingest.database.queries import query
from ingest.database.resolve import resolve
from ingest.errors import ConfigError
from ingest.market.time import moment
from ingest.settings import settings
from ingest.universe.instrument_master import load_master
from ingest.universe.keeper import UniverseKeeper
from ingest.universe.resolved_names import recalled
from tests.conftest import Template
from tests.data import data_file
from tests.db.masters import MASTER, NOON, row
from tests.engines import on_one_engine


@pytest.fixture(scope="module")
def list_url(template: Template) -> Iterator[str]:
    """A database with the real list, which is loaded once: tests take copies of it."""
    with template.fresh() as database:
        with database.connect(autocommit=True) as connection:
            load_master(connection, data_file(MASTER).read_bytes(), "file")
        yield database.url


@pytest.fixture
def listed(template: Template, list_url: str) -> Iterator[Database]:
    """A database of one test with the real list."""
    with template.fresh(source_url=list_url) as database:
        yield database


@pytest.fixture
def listed_conn(listed: Database) -> Iterator[psycopg.Connection[Any]]:
    with listed.connect(autocommit=True) as connection:
        yield connection


@on_one_engine
def test_look_takes_keys_without_a_list_and_skips_unknown_names(
    database: Database, listed: Database, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def look(universe: str, at: Database = listed) -> dict[str, str]:
        config = settings(home=home, universe=universe, underlyings="")
        return UniverseKeeper(config, at.url).look(NOON).keys

    assert look("NSE_FO|50904", database) == {"NSE_FO|50904": "full"}
    assert "no instrument master has key 'NSE_FO|50904'" in caplog.text
    with pytest.raises(ConfigError, match="'NOSUCH'.*no instruments are loaded"):
        look("NOSUCH", database)
    caplog.clear()
    assert look("INFY,NOSUCH") == {"NSE_EQ|INE009A01021": "full"}
    assert "name skipped: unknown instrument 'NOSUCH'" in caplog.text
    with pytest.raises(ConfigError, match="unknown instrument 'INFI'.*'INFY'"):
        look("INFI")


@on_one_engine
def test_look_skips_unknown_underlyings_and_knows_those_that_have_left(
    database: Database, listed: Database, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def look(underlyings: str, exclude: str = "", universe: str = "", at: Database = listed) -> set[str]:
        config = settings(home=home, universe=universe, underlyings=underlyings, underlyings_exclude=exclude, futures=1)
        return set(UniverseKeeper(config, at.url).look(NOON).keys)

    with pytest.raises(ConfigError, match="'NIFTY' of TICKLINE_UNDERLYINGS .*no instruments are loaded"):
        look("NIFTY", exclude="INFY", at=database)
    assert look("NIFTY", universe="NSE_FO|50904", at=database) == {"NSE_FO|50904"}
    caplog.clear()
    assert look("INFY,NIFTI") == look("INFY") != set()
    assert "underlying skipped: underlying 'NIFTI' of TICKLINE_UNDERLYINGS" in caplog.text
    assert "the nearest is 'NIFTY'" in caplog.text
    with pytest.raises(ConfigError, match="'NIFTI' of TICKLINE_UNDERLYINGS .*the nearest is 'NIFTY'"):
        look("NIFTI")
    with pytest.raises(ConfigError, match="'TCSS' of TICKLINE_UNDERLYINGS_EXCLUDE .*the nearest is 'TCS'"):
        look("INFY", exclude="TCSS")
    # The list of a day without it: it has left, and is no slip of the pen.
    with listed.connect(autocommit=True) as conn:
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
def test_look_remembers_what_names_mean_for_a_start_without_the_database(listed: Database, home: Path) -> None:
    config = settings(home=home, universe="NIFTY FUT,NOSUCH", underlyings="INFY,BANKNIFTY", futures=1, option_strikes=1)
    keeper = UniverseKeeper(config, listed.url)
    keeper.look(NOON)
    keeper._prices["NSE_INDEX|Nifty Bank"] = 59_412.0
    found = keeper.look(NOON + timedelta(minutes=1)).keys
    assert len(found) == 1 + 2 + 2 + 3 * 2
    assert recalled(config) == found
    assert set(recalled(settings(home=home, universe=(), underlyings="INFY"))) < set(found)


@on_one_engine
def test_look_gives_rules_and_names(listed: Database, home: Path) -> None:
    config = settings(
        home=home, universe="INFY", underlyings="BANKNIFTY,NIFTY", futures=1, option_strikes=2, options_mode="ltpc"
    )
    keeper = UniverseKeeper(config, listed.url)
    found = keeper.look(NOON)
    assert found.unpriced == ("BANKNIFTY", "NIFTY")
    assert len(found.keys) == 2 + 2 + 1
    assert found.keys["NSE_EQ|INE009A01021"] == "full"
    supposed = keeper.supposed(found, NOON)
    assert supposed.unpriced == () and len(supposed.keys) == 5 + 2 * 5 * 2
    with pytest.raises(ConfigError, match="TICKLINE_UNDERLYINGS"):
        UniverseKeeper(settings(home=home, universe="", underlyings=""), listed.url).look(NOON)


@on_one_engine
def test_look_follows_the_spot_and_rolls_at_the_close_of_expiry(
    listed: Database, listed_conn: psycopg.Connection[Any], home: Path
) -> None:
    [spot] = resolve(listed_conn, ["BANKNIFTY"], on=NOON.date())
    listed_conn.execute("insert into tickline.active_instruments values (%s, %s)", (spot.instrument_id, NOON))
    config = settings(home=home, universe="NIFTY FUT", underlyings="BANKNIFTY", futures=1, option_strikes=1)
    keeper = UniverseKeeper(config, listed.url)

    def look(at: datetime, price: float) -> tuple[list[str], list[float]]:
        listed_conn.execute(query("shared/ensure_partitions"), {"start": at, "end": at})
        listed_conn.execute(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, received_at) values (%s, %s, 1, true, %s, %s)",
            (at, spot.instrument_id, price, at),
        )
        found = resolve(listed_conn, list(keeper.look(at).keys), on=keeper.calendar.contract_day(at))
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
