"""How fast a day of minute bars comes into Polars: `make bench`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import polars as pl
import psycopg
import pytest
from adbc_driver_postgresql import dbapi

import analytics
from sql.database import Database

INSTRUMENTS, MINUTES, RUNS = 2000, 375, 5
RAW_RATIO_MIN = 0.4  # raw time over ours; what the reader adds is names, types and the order of rows


@pytest.fixture
def day_of_bars(conn: psycopg.Connection[Any]) -> list[str]:
    """Official bars of one session of 2,000 instruments; returns the keys."""
    conn.execute(
        "insert into instruments (instrument_key, segment, trading_symbol) "
        "select 'NSE_FO|' || 40000 + n, 'NSE_FO', 'X' || n from generate_series(1, %s) as n",
        (INSTRUMENTS,),
    )
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, oi, source) "
        "select instrument_id, timestamptz '2025-12-15 03:45+00' + n * interval '1 minute', "
        "100 + random(), 102, 99, 100 + random(), n, 7 * n, 'I1' "
        "from instruments cross join generate_series(0, %s) as n order by n, instrument_id",
        (MINUTES - 1,),
    )
    conn.execute("vacuum analyze official_bars_1m")
    return [row[0] for row in conn.execute("select instrument_key from instruments")]


def fastest(read: Callable[[], pl.DataFrame], rows: int) -> float:
    """Return the shortest of several runs in seconds."""
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        assert read().height == rows
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@pytest.mark.bench
def test_bars_of_a_day_are_read_near_the_speed_of_the_driver(day_of_bars: list[str], database: Database) -> None:
    def raw() -> pl.DataFrame:
        with dbapi.connect(database.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "select instrument_id, bucket, open, high, low, close, volume, oi, source, 'complete' as quality "
                "from official_bars_1m where bucket >= '2025-12-15' and bucket < '2025-12-16'"
            )
            return pl.DataFrame(cursor.fetch_arrow())

    rows = INSTRUMENTS * MINUTES
    raw_s = fastest(raw, rows)
    ours_s = fastest(lambda: analytics.bars(day_of_bars, source="official", database=database), rows)
    print(f"\n{database.engine}: raw {raw_s:.3f} s, analytics.bars official 1m {ours_s:.3f} s, {raw_s / ours_s:.2f}")
    for source, interval, count in (("best", "1m", 375), ("best", "5m", 75), ("best", "15m", 25), ("best", "1d", 1)):
        read = lambda s=source, i=interval: analytics.bars(day_of_bars, interval=i, source=s, database=database)  # noqa: E731
        seconds = fastest(read, INSTRUMENTS * count)
        print(f"{database.engine}: analytics.bars {source} {interval} {seconds:.3f} s")
    assert raw_s / ours_s >= RAW_RATIO_MIN
