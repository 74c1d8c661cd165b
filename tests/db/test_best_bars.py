"""The best bars: the vendor's or ours, and what their quality says; the same on both engines."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import analytics
from ingest.database import queries
from ingest.database.connections import Database
from ingest.database.embedded import SUPERUSER
from tests.db.bar_rows import START, Connection, at, greeks, insert, official, trades


def test_bar_greeks_are_the_last_that_are_known(conn: Connection, settle: Any) -> None:
    times = ((5, True), (20, False), (40, True), (70, True), (130, True))
    insert(conn, [(seconds, n, traded, 100.0, n * 10, 10) for n, (seconds, traded) in enumerate(times, 1)])
    # The trade at 40 s has no greeks, the quote before it has; of the last minute nothing is known.
    conn.execute(
        "update ticks set iv = 0.1 * seq, delta = -0.1 * seq, gamma = case when seq < 2 then 0.001 end "
        "where seq in (1, 2, 4)"
    )
    settle()
    expected = [(0, 0.2, -0.2, 0.001), (60, 0.4, -0.4, None), (120, None, None, None)]
    for view in ("bars_1m", "best_bars_1m"):
        assert greeks(conn, view) == expected
    for view in ("bars_5m", "best_bars_5m"):
        assert greeks(conn, view) == [(0, 0.4, -0.4, 0.001)]


def test_best_bars_greeks_are_ours_where_the_rest_is_official(conn: Connection, settle: Any) -> None:
    trades(conn, 2)
    conn.execute("update ticks set iv = 0.25, delta = 0.5, gamma = 0.001")
    settle()
    official(conn, 60, 1.0, "I1")
    official(conn, 120, 2.0, "I1")
    assert greeks(conn, "best_bars_1m") == [
        (0, 0.25, 0.5, 0.001),
        (60, 0.25, 0.5, 0.001),
        (120, None, None, None),
    ]
    assert greeks(conn, "best_bars_5m") == [(0, 0.25, 0.5, 0.001)]


def test_best_bars_prefer_the_official_bar(conn: Connection, settle: Any) -> None:
    trades(conn, 4)
    settle()
    official(conn, 60, 1.0, "I1")
    official(conn, 120, 2.0, "historical")
    official(conn, 600, 3.0, "I1")
    found = conn.execute(
        "select extract(epoch from bucket - %s)::int, close, volume, oi, ticks, source, quality "
        "from best_bars_1m where instrument_id = 1 order by 1",
        (START,),
    ).fetchall()
    assert found == [
        (0, 102.0, 30, 2, 3, "ticks", "complete"),
        (60, 1.0, 7, 5, 3, "official", "complete"),
        (120, 2.0, 7, 8, 3, "backfill", "complete"),
        (180, 104.0, 30, 11, 3, "ticks", "complete"),
        (600, 3.0, 7, None, 0, "official", "complete"),
    ]
    rolled_up = conn.execute(
        "select open, high, low, close, volume, oi, ticks, source, quality from best_bars_5m order by bucket"
    ).fetchall()
    assert rolled_up == [
        (100.0, 104.0, 1.0, 104.0, 74, 11, 12, "mixed", "complete"),
        (3.0, 3.0, 3.0, 3.0, 7, None, 0, "official", "complete"),
    ]


def test_best_bars_single_trade_is_thin(conn: Connection) -> None:
    insert(conn, [(5, 1, True, 1.0, 10, 10)])
    assert conn.execute("select quality from best_bars_1m union all select quality from best_bars_5m").fetchall() == [
        ("thin",),
        ("thin",),
    ]


def unheard(conn: Connection, seconds: float, quality: str) -> None:
    conn.execute("insert into unheard_minutes values (1, %s, %s)", (at(seconds), quality))


def test_best_bars_say_what_was_not_heard_before_anything_else(conn: Connection) -> None:
    trades(conn, 4)
    official(conn, 60, 1.0, "I1")
    for seconds, quality in ((60, "gap"), (120, "partial"), (600, "gap")):
        unheard(conn, seconds, quality)
    found = conn.execute("select source, quality from best_bars_1m order by bucket").fetchall()
    assert found == [("ticks", "complete"), ("official", "gap"), ("ticks", "partial"), ("ticks", "complete")]
    # A minute that was not heard and has no bar makes none, but the five minutes that it is in are no better for it.
    assert conn.execute("select source, quality from best_bars_5m").fetchall() == [("mixed", "gap")]
    insert(conn, [(605 + 60, 99, True, 5.0, 1_000, 10), (606 + 60, 100, True, 5.0, 1_010, 10)])
    assert conn.execute("select quality from best_bars_5m order by bucket desc limit 1").fetchone() == ("gap",)


USUAL, MUHURAT = "2025-12-15", "2026-11-08"


@pytest.mark.parametrize(
    ("segment", "day", "minutes", "expected"),
    [
        ("NSE_FO", USUAL, ("08:59", "09:00", "09:14", "09:15"), ("thin", "auction", "auction", "thin")),
        ("MCX_FO", USUAL, ("08:59", "09:00", "09:05", "09:15"), ("thin", "thin", "thin", "thin")),
        (None, USUAL, ("09:05", "09:15"), ("auction", "thin")),
        (
            "NSE_EQ",
            MUHURAT,
            ("09:05", "17:44", "17:45", "17:59", "18:00"),
            ("thin", "thin", "auction", "auction", "thin"),
        ),
        ("NSE_FO", MUHURAT, ("09:05", "17:45"), ("auction", "thin")),  # of it nothing is known
    ],
)
def test_bars_before_the_open_are_of_the_auction_wherever_they_are_read(
    database: Database,
    conn: Connection,
    segment: str | None,
    day: str,
    minutes: tuple[str, ...],
    expected: tuple[str, ...],
) -> None:
    opens = {
        "segments": ["NSE_EQ", "NSE_EQ"],
        "days": [MUHURAT, USUAL],
        "opens_at": [f"{MUHURAT} 18:00+05:30", f"{USUAL} 09:15+05:30"],
    }
    conn.execute(queries.query("store/note_sessions"), opens)
    assert len(conn.execute("select from tickline.special_sessions").fetchall()) == 1
    key = f"{segment or 'NSE_EQ'}|1"
    conn.execute(
        "insert into instruments (instrument_id, instrument_key, segment) overriding system value values (1, %s, %s)",
        (key, segment),
    )
    conn.execute("select tickline.ensure_partitions(%s, %s)", (day, day))
    for seq, minute in enumerate(minutes):
        conn.execute(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
            "values (%s, 1, %s, true, 1, %s, 1, now())",
            (f"{day} {minute}+05:30", seq, seq + 1),
        )
    assert tuple(row[0] for row in conn.execute("select quality from best_bars_1m order by bucket")) == expected
    for source in ("best", "ticks"):
        assert tuple(analytics.bars(key, source=source, database=database)["quality"]) == expected
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, source) "
        "select 1, bucket, 1, 1, 1, 1, 1, 'I1' from bars_1m"
    )
    official = tuple(quality.replace("thin", "complete") for quality in expected)
    assert tuple(row[0] for row in conn.execute("select quality from best_bars_1m order by bucket")) == official
    for source in ("best", "official"):
        assert tuple(analytics.bars(key, source=source, database=database)["quality"]) == official


def test_best_bars_are_read_by_who_has_the_public_relations_only(database: Database, conn: Connection) -> None:
    conn.execute("select tickline.ensure_partitions('2025-12-15', '2025-12-15')")
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
        "values ('2025-12-15 09:05+05:30', 1, 1, true, 1, 1, 1, now())"
    )
    reader = f"reader_{conn.info.dbname}"
    with psycopg.connect(make_conninfo(database.url, user=SUPERUSER), autocommit=True) as admin:
        admin.execute(f"create role {reader}")
        admin.execute(f"grant select on all tables in schema public to {reader}")
        admin.execute(f"set role {reader}")
        for view in ("best_bars_1m", "best_bars_5m"):
            assert admin.execute(f"select quality from {view}").fetchall() == [("auction",)]
        admin.execute("reset role")
        admin.execute(f"drop owned by {reader}")
        admin.execute(f"drop role {reader}")
