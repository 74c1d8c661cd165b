"""What spikes are found in: the reader's bars, of a range and of each minute to come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import polars.testing
import psycopg
import pytest

import analytics
from analytics.read import minute_reader
from analytics.read.minute_reader import MinuteReader
from analytics.schema import BARS
from analytics.signals.find import Scope, find, next_minutes
from analytics.signals.rules import DEFAULT
from ingest.database.connections import Database

OPEN = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def instrument(conn: psycopg.Connection[Any], key: str, expiry: date | None = None) -> int:
    row = conn.execute(
        "insert into instruments (instrument_key, segment, expiry) values (%s, 'NSE_FO', %s) returning instrument_id",
        (key, expiry),
    ).fetchone()
    assert row is not None
    return int(row[0])


def official(conn: psycopg.Connection[Any], number: int, minute: int, close: float = 100.0) -> None:
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, oi, source) "
        "values (%s, %s, 100, 200, 50, %s, 7, null, 'I1')",
        (number, OPEN + minute * MINUTE, close),
    )


def tick(conn: psycopg.Connection[Any], number: int, minute: int, ltp: float = 101.0) -> None:
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, received_at) "
        "values (%s, %s, %s, true, %s, %s, 10, 40, now())",
        (OPEN + minute * MINUTE, number, minute, ltp, 10 * (minute + 1)),
    )


@pytest.fixture
def minutes(database: Database, conn: psycopg.Connection[Any]) -> Iterator[MinuteReader]:
    conn.execute("select tickline.ensure_partitions('2026-01-05', '2026-01-05')")
    with database.connect(autocommit=True) as connection, MinuteReader(database, connection) as reader:
        yield reader


def test_minute_reader_gives_the_bars_of_the_reader(
    minutes: MinuteReader, database: Database, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    both, ours, theirs = (instrument(conn, f"NSE_FO|{name}") for name in (3, 1, 2))
    for minute in range(3):
        tick(conn, both, minute)
        tick(conn, ours, minute)
        official(conn, theirs, minute)
    official(conn, both, 1, close=150.0)
    conn.execute(
        "insert into unheard_minutes (instrument_id, bucket, quality) values (%s, %s, 'gap'), (%s, %s, 'partial')",
        (ours, OPEN, ours, OPEN + 9 * MINUTE),
    )
    keys = ["NSE_FO|1", "NSE_FO|2", "NSE_FO|3"]
    expected = analytics.bars(keys, start=OPEN, end=OPEN + 10 * MINUTE, database=database)
    assert expected.height == 9 and expected["quality"][0] == "gap" and expected["close"][7] == 150.0
    pl.testing.assert_frame_equal(minutes.read(OPEN, OPEN + 10 * MINUTE), expected)
    some = minutes.read(OPEN, OPEN + 10 * MINUTE, [both, ours])
    pl.testing.assert_frame_equal(some, expected.filter(pl.col("instrument_key") != "NSE_FO|2"))
    assert minutes.read(OPEN - MINUTE, OPEN).schema == BARS
    # Once instruments are known, ours are read in halves, and an instrument beyond both is not lost.
    monkeypatch.setattr(minute_reader, "HALVED_FROM", 2)
    new = instrument(conn, "NSE_FO|9")
    tick(conn, new, 4)
    whole = analytics.bars([*keys, "NSE_FO|9"], start=OPEN, end=OPEN + 10 * MINUTE, database=database)
    pl.testing.assert_frame_equal(minutes.read(OPEN, OPEN + 10 * MINUTE), whole)
    pl.testing.assert_frame_equal(minutes.read(OPEN, OPEN + 10 * MINUTE, [both, ours]), some)


def test_minute_reader_next_minute_has_what_is_known_and_what_ticks_for_the_first_time(
    minutes: MinuteReader, conn: psycopg.Connection[Any]
) -> None:
    known, new = instrument(conn, "NSE_FO|1"), instrument(conn, "NSE_FO|2")
    tick(conn, known, 0)
    minutes.read(OPEN, OPEN + MINUTE)
    official(conn, known, 1, close=110.0)
    tick(conn, new, 1)
    official(conn, new, 1, close=120.0)
    found = minutes.read(OPEN + MINUTE, OPEN + 2 * MINUTE)
    assert found.select("instrument_key", "close", "oi").rows() == [("NSE_FO|1", 110.0, None), ("NSE_FO|2", 120.0, 40)]


def test_minute_reader_key_that_was_used_again_means_its_last_instrument(
    minutes: MinuteReader, conn: psycopg.Connection[Any]
) -> None:
    now, before = instrument(conn, "NSE_FO|1", date(2026, 1, 29)), instrument(conn, "NSE_FO|1", date(2026, 1, 2))
    official(conn, before, 0, close=60.0)
    official(conn, now, 1, close=110.0)
    assert minutes.read(OPEN, OPEN + 5 * MINUTE)["close"].to_list() == [110.0]


def random_ticks(conn: psycopg.Connection[Any], numbers: list[int], minutes: int) -> None:
    """Trades and quotes in any order, of which some count volume twice, and moves of the day's extremes."""
    rng = np.random.default_rng(2)
    rows = []
    for number in numbers:
        for seq in range(minutes * 6):
            second = int(rng.integers(0, minutes * 60))
            trade = (
                rng.random() < 0.4,
                100 + rng.random(),
                10 * second + int(rng.integers(0, 3)),
                int(rng.integers(30)),
            )
            greeks = (int(rng.integers(1, 9)), 0.2, 0.5, 0.001) if rng.random() < 0.5 else (None,) * 4
            extremes = (102.0 + int(rng.integers(3)), 99.0 - int(rng.integers(3)))
            rows.append((OPEN + timedelta(seconds=second), number, seq, *trade, *greeks, *extremes))
    with conn.cursor() as cursor:
        cursor.executemany(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, iv, delta, gamma, day_high, "
            "day_low, received_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now())",
            rows,
        )


def test_minutes_made_of_their_ticks_are_those_of_the_view_and_many_at_once_those_one_by_one(
    minutes: MinuteReader, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [instrument(conn, f"NSE_FO|{name}") for name in (5, 3, 4)]
    random_ticks(conn, numbers, 12)
    official(conn, numbers[0], 3)
    conn.execute("delete from ticks where ts >= %s and ts < %s", (OPEN + 5 * MINUTE, OPEN + 6 * MINUTE))
    conn.execute("call tickline.refresh_bars(%s, %s)", (OPEN, OPEN + 4 * MINUTE))
    for halved_from in (200, 2):
        monkeypatch.setattr(minute_reader, "HALVED_FROM", halved_from)
        one_by_one = []
        for at in range(12):
            given = (OPEN + at * MINUTE, OPEN + (at + 1) * MINUTE, numbers if at % 2 else None)
            of_view = minutes.read(*given)
            pl.testing.assert_frame_equal(minutes.read(*given, is_new=True), of_view, check_exact=True)
            one_by_one += next_minutes(minutes, None, *given[:2])
        assert len(one_by_one) == 11 and sum(bars.height for bars in one_by_one) > 25
        at_once = list(next_minutes(minutes, None, OPEN, OPEN + 12 * MINUTE))
        assert len(at_once) == 11
        for bars, alone in zip(at_once, one_by_one, strict=True):
            pl.testing.assert_frame_equal(bars, alone, check_exact=True)


def test_jump_of_implied_volatility_in_ticks_is_found_and_stored_with_its_reason(
    minutes: MinuteReader, database: Database, conn: psycopg.Connection[Any]
) -> None:
    option, rng = instrument(conn, "NSE_FO|1"), np.random.default_rng(1)
    iv = 0.14 + rng.normal(0, 0.0004, 100) + np.where(np.arange(100) >= 80, 0.05, 0)
    price = 100 + rng.normal(0, 0.2, 100) + 400 * (iv - 0.14)
    with conn.cursor() as cursor:
        cursor.executemany(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, iv, delta, gamma, received_at) "
            "values (%s, %s, %s, true, %s, %s, 10, 40, %s, 0.5, 0.001, now())",
            [(OPEN + n * MINUTE, option, n, price[n], 10 * (n + 1), iv[n]) for n in range(100)],
        )
    [found] = find(database, Scope(DEFAULT), OPEN, OPEN + 100 * MINUTE)
    assert found["bucket"].to_list() == [OPEN + 80 * MINUTE]
    stored = conn.execute("select reasons ->> 'text' from signals").fetchall()
    assert len(stored) == 1 and "implied volatility changed by" in stored[0][0]
