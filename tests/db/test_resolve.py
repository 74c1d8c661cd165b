"""Names that traders type, on both engines."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg
import pytest

from ingest.database.resolve import Instrument, resolve
from ingest.errors import ConfigError, SchemaError

BEFORE_EXPIRY = date(2025, 12, 15)
AFTER_EXPIRY = date(2025, 12, 31)
DEC, JAN = date(2025, 12, 30), date(2026, 1, 27)

COLUMNS = "instrument_key, segment, name, trading_symbol, instrument_type, expiry, strike, lot_size"
MASTER: list[tuple[Any, ...]] = [
    ("NSE_EQ|INE009A01021", "NSE_EQ", "INFOSYS LIMITED", "INFY", "EQ", None, None, 1),
    ("BSE_EQ|INE009A01021", "BSE_EQ", "INFOSYS LIMITED", "INFY", "EQ", None, None, 1),
    ("NSE_EQ|INE919I08017", "NSE_EQ", "RADIO CITY PREF", "RADIOCITY", "P1", None, None, 1),
    ("NSE_EQ|INE919I01024", "NSE_EQ", "RADIO CITY", "RADIOCITY", "EQ", None, None, 1),
    ("NSE_INDEX|Nifty 50", "NSE_INDEX", "Nifty 50", "NIFTY", "INDEX", None, None, None),
    ("NSE_INDEX|Nifty Bank", "NSE_INDEX", "Nifty Bank", "BANKNIFTY", "INDEX", None, None, None),
    ("NSE_FO|49543", "NSE_FO", "NIFTY", "NIFTY FUT 30 DEC 25", "FUT", DEC, None, 75),
    ("NSE_FO|49229", "NSE_FO", "NIFTY", "NIFTY FUT 27 JAN 26", "FUT", JAN, None, 65),
    ("NSE_FO|49921", "NSE_FO", "MAHINDRA & MAHINDRA LTD", "M&M FUT 30 DEC 25", "FUT", DEC, None, 200),
    ("NSE_FO|51460", "NSE_FO", "BANKNIFTY", "BANKNIFTY 59400 CE 30 DEC 25", "CE", DEC, 59400.0, 35),
    ("NSE_FO|51470", "NSE_FO", "BANKNIFTY", "BANKNIFTY 59400 CE 27 JAN 26", "CE", JAN, 59400.0, 35),
    ("BSE_FO|81470", "BSE_FO", "BANKNIFTY", "BANKNIFTY 59400 CE 16 DEC 25", "CE", date(2025, 12, 16), 59400.0, 35),
    ("NSE_FO|51471", "NSE_FO", "SBIN", "SBIN 802.5 PE 30 DEC 25", "PE", DEC, 802.5, 750),
    ("NSE_FO|51460", "NSE_FO", "SBIN", "SBIN 800 PE 27 JAN 26", "PE", JAN, 800.0, 750),
]


@pytest.fixture(scope="module")
def master(conn_to_read: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """A database with a few instruments."""
    statement = f"insert into instruments ({COLUMNS}) values ({', '.join(['%s'] * 8)})"
    conn_to_read.cursor().executemany(statement, MASTER)
    return conn_to_read


def keys(connection: psycopg.Connection[Any], *names: str, on: date = BEFORE_EXPIRY) -> list[str]:
    return [instrument.instrument_key for instrument in resolve(connection, names, on=on)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NSE_FO|49543", "NSE_FO|49543"),
        ("nse_index|nifty 50", "NSE_INDEX|Nifty 50"),
        ("INFY", "NSE_EQ|INE009A01021"),
        (" infy ", "NSE_EQ|INE009A01021"),
        ("BSE_EQ|INE009A01021", "BSE_EQ|INE009A01021"),
        ("Infosys Limited", "NSE_EQ|INE009A01021"),
        ("radiocity", "NSE_EQ|INE919I01024"),
        ("NIFTY", "NSE_INDEX|Nifty 50"),
        ("Nifty 50", "NSE_INDEX|Nifty 50"),
        ("BANKNIFTY", "NSE_INDEX|Nifty Bank"),
        ("bank nifty", "NSE_INDEX|Nifty Bank"),
        ("NIFTY FUT", "NSE_FO|49543"),
        ("nifty  fut 27 jan 26", "NSE_FO|49229"),
        ("m&m fut", "NSE_FO|49921"),
        ("BANKNIFTY 59400 CE 30 DEC 25", "NSE_FO|51460"),
        ("banknifty59400ce30dec25", "NSE_FO|51460"),
        ("BANKNIFTY 59400 CE", "NSE_FO|51460"),
        ("banknifty 59400 ce", "NSE_FO|51460"),
        ("BANKNIFTY 59400 CE 27 JAN 26", "NSE_FO|51470"),
        ("SBIN 802.5 PE", "NSE_FO|51471"),
    ],
)
def test_resolve_name_of_a_trader_finds_instrument(master: psycopg.Connection[Any], name: str, expected: str) -> None:
    assert keys(master, name) == [expected]
    [(key,)] = master.execute(
        "select instrument_key from instruments where instrument_id = instrument(%s, %s)", (name, BEFORE_EXPIRY)
    )
    assert key == expected


def test_resolve_future_without_expiry_is_the_nearest_living(master: psycopg.Connection[Any]) -> None:
    assert keys(master, "NIFTY FUT", on=DEC) == ["NSE_FO|49543"]
    assert keys(master, "NIFTY FUT", on=AFTER_EXPIRY) == ["NSE_FO|49229"]


def test_resolve_option_without_expiry_is_the_nearest_living_of_its_exchange(master: psycopg.Connection[Any]) -> None:
    assert keys(master, "BANKNIFTY 59400 CE", on=DEC) == ["NSE_FO|51460"]
    assert keys(master, "BANKNIFTY 59400 CE", on=AFTER_EXPIRY) == ["NSE_FO|51470"]
    with pytest.raises(ConfigError, match="unknown instrument"):
        keys(master, "BANKNIFTY 59400 PE")
    with pytest.raises(ConfigError, match="unknown instrument"):
        keys(master, "BANKNIFTY 59400 CE", on=date(2026, 6, 1))
    with pytest.raises(ConfigError, match="unknown instrument"):
        keys(master, "SBIN PE")


def test_resolve_option_without_expiry_reads_an_index(master: psycopg.Connection[Any]) -> None:
    master.execute("set local enable_seqscan = off")
    plan = master.execute(
        "explain (generic_plan) select * from instruments where instrument_type in ('CE', 'PE') and "
        "replace(upper(split_part(trading_symbol, ' ' || instrument_type || ' ', 1)), ' ', '') || instrument_type "
        "= any($1)"
    ).fetchall()
    assert "instruments_option_spelling_idx" in str(plan)


def test_resolve_reused_key_is_the_one_that_lives(master: psycopg.Connection[Any]) -> None:
    assert [found.strike for found in resolve(master, ["NSE_FO|51460"], on=BEFORE_EXPIRY)] == [59400.0]
    assert [found.strike for found in resolve(master, ["NSE_FO|51460"], on=AFTER_EXPIRY)] == [800.0]
    assert [found.strike for found in resolve(master, ["NSE_FO|51460"], on=date(2026, 6, 1))] == [800.0]


def test_resolve_expired_symbol_is_still_found(master: psycopg.Connection[Any]) -> None:
    [found] = resolve(master, ["BANKNIFTY 59400 CE 30 DEC 25"], on=date(2026, 6, 1))
    assert (found.expiry, found.strike, found.lot_size, found.segment) == (DEC, 59400.0, 35, "NSE_FO")


def test_resolve_several_names_keep_their_order(master: psycopg.Connection[Any]) -> None:
    found = keys(master, "NIFTY FUT", "INFY", "NSE_FO|49543", "infy")
    assert found == ["NSE_FO|49543", "NSE_EQ|INE009A01021", "NSE_FO|49543", "NSE_EQ|INE009A01021"]


COLUMNS_IN_TIME = "instrument_key, segment, name, trading_symbol, instrument_type, expiry, valid_from, valid_to"
SPLIT, MOVED = "2026-11-27 06:30+05:30", "2026-12-10 06:30+05:30"
IN_TIME: list[tuple[Any, ...]] = [
    # A split: the old share and its future are withdrawn, others have the symbol.
    ("NSE_EQ|OLD", "NSE_EQ", "KOTAK", "KOTAKBANK", "EQ", None, "2026-01-01", SPLIT),
    ("NSE_FO|50001", "NSE_FO", "KOTAK", "KOTAKBANK FUT 29 DEC 26", "FUT", date(2026, 12, 29), "2026-01-01", SPLIT),
    ("NSE_EQ|NEW", "NSE_EQ", "KOTAK", "KOTAKBANK", "EQ", None, SPLIT, None),
    ("NSE_FO|50101", "NSE_FO", "KOTAK", "KOTAKBANK FUT 29 DEC 26", "FUT", date(2026, 12, 29), SPLIT, None),
    # An expiry that an earlier version took for another contract when it was moved.
    ("NSE_FO|7", "NSE_FO", "NIFTY", "NIFTY FUT 31 DEC 26", "FUT", date(2026, 12, 31), "2026-01-01", MOVED),
    ("NSE_FO|7", "NSE_FO", "NIFTY", "NIFTY FUT 30 DEC 26", "FUT", date(2026, 12, 30), MOVED, None),
    # One symbol for a share and other papers of the company; the share is not always the first of them.
    ("NSE_EQ|PARTLY", "NSE_EQ", "A", "AARTISURF", "P1", None, "2026-01-01", None),
    ("NSE_EQ|SHARE", "NSE_EQ", "A", "AARTISURF", "BZ", None, "2026-01-01", None),
    ("NSE_EQ|BOND1", "NSE_EQ", "I", "IMC1", "N0", None, "2026-01-01", None),
    ("NSE_EQ|BOND2", "NSE_EQ", "I", "IMC1", "N1", None, "2026-01-01", None),
]


@pytest.mark.parametrize(
    ("name", "on", "expected"),
    [
        ("KOTAKBANK", "2026-11-26", "NSE_EQ|OLD"),
        ("KOTAKBANK", "2026-11-27", "NSE_EQ|NEW"),
        ("KOTAKBANK", "2025-06-01", "NSE_EQ|OLD"),  # from before anything was known
        ("KOTAKBANK", "2027-06-01", "NSE_EQ|NEW"),
        ("KOTAKBANK FUT", "2026-11-26", "NSE_FO|50001"),
        ("KOTAKBANK FUT", "2026-11-27", "NSE_FO|50101"),
        ("KOTAKBANK FUT 29 DEC 26", "2026-11-27", "NSE_FO|50101"),
        ("NSE_EQ|OLD", "2026-11-27", "NSE_EQ|OLD"),
        ("AARTISURF", "2026-11-27", "NSE_EQ|SHARE"),
    ],
)
def test_resolve_prefers_what_is_listed_on_the_day(
    conn: psycopg.Connection[Any], name: str, on: str, expected: str
) -> None:
    statement = f"insert into instruments ({COLUMNS_IN_TIME}) values ({', '.join(['%s'] * 8)})"
    conn.cursor().executemany(statement, IN_TIME)
    assert keys(conn, name, on=date.fromisoformat(on)) == [expected]


def test_resolve_key_of_a_history_cut_in_two_is_the_part_of_the_day(conn: psycopg.Connection[Any]) -> None:
    statement = f"insert into instruments ({COLUMNS_IN_TIME}) values ({', '.join(['%s'] * 8)})"
    conn.cursor().executemany(statement, IN_TIME)
    found = [resolve(conn, ["NSE_FO|7"], on=date(2026, 12, day))[0].expiry for day in (9, 10, 30)]
    assert found == [date(2026, 12, 31), date(2026, 12, 30), date(2026, 12, 30)]


def test_resolve_symbol_that_nothing_tells_apart_is_refused_with_the_keys(conn: psycopg.Connection[Any]) -> None:
    statement = f"insert into instruments ({COLUMNS_IN_TIME}) values ({', '.join(['%s'] * 8)})"
    conn.cursor().executemany(statement, IN_TIME)
    with pytest.raises(ConfigError, match=r"means 2 instruments: .*'NSE_EQ\|BOND1' \(N0\), 'NSE_EQ\|BOND2' \(N1\)"):
        resolve(conn, ["IMC1"], on=date(2026, 11, 27))


def test_resolve_key_that_only_ticked_has_no_more_than_its_key(conn: psycopg.Connection[Any]) -> None:
    conn.execute("insert into instruments (instrument_key, segment) values ('NSE_FO|1', 'NSE_FO')")
    [found] = resolve(conn, ["NSE_FO|1"], on=BEFORE_EXPIRY)
    assert found == Instrument(found.instrument_id, "NSE_FO|1", None, None, "NSE_FO", None, None, None)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("INFI", "'INFY'"),
        ("BANKNIFTY 59400", "'BANKNIFTY 59400 CE 30 DEC 25'"),
        ("59400 ce", "'BANKNIFTY 59400 CE 30 DEC 25'"),
        ("Infosys", "'INFY'"),
        ("NIFTY FUT 31 DEC 25", "'NIFTY FUT 30 DEC 25'"),
    ],
)
def test_resolve_unknown_name_says_near_matches(master: psycopg.Connection[Any], name: str, near: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(master, ["INFY", name], on=BEFORE_EXPIRY)
    assert str(error.value).startswith(f"unknown instrument {name!r} on 2025-12-15: near matches are ")
    assert near in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["ZZQX", "", "100%", "';drop table ticks;--", "\\", "%(on)s"])
def test_resolve_name_like_nothing_says_what_a_name_is(master: psycopg.Connection[Any], name: str) -> None:
    with pytest.raises(ConfigError, match="unknown instrument") as error:
        resolve(master, [name], on=BEFORE_EXPIRY)
    assert repr(name) in str(error.value)


def test_resolve_without_instruments_says_so(conn: psycopg.Connection[Any]) -> None:
    with pytest.raises(ConfigError, match="no instruments are loaded"):
        resolve(conn, ["INFY"], on=BEFORE_EXPIRY)


def test_resolve_without_schema_names_the_remedy(empty_database: Any) -> None:
    with empty_database.connect() as connection, pytest.raises(SchemaError, match="db upgrade"):
        resolve(connection, ["INFY"], on=BEFORE_EXPIRY)
