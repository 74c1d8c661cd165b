"""The vendor's real master, and contracts whose terms change, on both engines."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import psycopg
import pytest

from ingest.database.connections import Database
from ingest.database.resolve import resolve
from ingest.simulator.recorded import RecordedMarket
from ingest.store.writer import Writer
from ingest.universe import instrument_master
from ingest.universe.instrument_master import load_master
from tests.data import data_file
from tests.db.masters import MASTER, SESSION, load, row
from tests.engines import on_one_engine
from tests.fault.harness import wait_until


@on_one_engine
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


@on_one_engine
def test_key_that_is_met_during_a_load_is_the_listed_contract(
    conn: psycopg.Connection[Any], database: Database
) -> None:
    """Two instruments of one contract would part its ticks, and its volume would begin again."""
    listed = date(2026, 12, 30)
    with ThreadPoolExecutor(1) as pool:
        with conn.transaction():
            load(conn, date(2026, 12, 1), row(listed, "NIFTY FUT 30 DEC 26", 75))
            meeting = pool.submit(register, conn, database, date(2026, 12, 1))
            waiting = "select count(*) from pg_locks where not granted and relation = 'instruments'::regclass"
            wait_until(lambda: meeting.done() or conn.execute(waiting).fetchone() == (1,))
        met = meeting.result()
    assert conn.execute("select instrument_id, expiry from instruments").fetchall() == [(met, listed)]


@on_one_engine
def test_load_that_freezes_holds_nobody_up(
    conn: psycopg.Connection[Any], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instrument_master, "SILENT_MS", 1_000)  # in 50 ms a busy machine makes no load
    with pytest.raises(psycopg.Error), database.connect() as frozen, frozen.transaction():
        load(frozen, date(2026, 12, 1), row(date(2026, 12, 30), "NIFTY FUT 30 DEC 26", 75))
        register(conn, database, date(2026, 12, 1))
    assert conn.execute("select expiry from instruments").fetchall() == [(None,)]


def test_master_of_an_earlier_day_ends_nothing_that_was_not_known_then(conn: psycopg.Connection[Any]) -> None:
    today = row(date(2027, 1, 26), "NIFTY FUT 26 JAN 27", 65) | {"instrument_key": "NSE_FO|2"}
    load(conn, date(2026, 12, 29), today)
    load(conn, date(2026, 12, 29), row(date(2026, 10, 27), "NIFTY FUT 27 OCT 26", 75))
    found = conn.execute("select instrument_key from instruments where valid_to is null and expiry > '2026-12-01'")
    assert found.fetchall() == [("NSE_FO|2",)]
