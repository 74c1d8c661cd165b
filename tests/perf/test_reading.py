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
# Raw time over ours. The reader adds names, types and the order of rows, and reads by several connections;
# for the best bars it reads two bars for each that it gives.
RAW_RATIO_MIN = {"official": 0.6, "ticks": 0.6, "best": 0.35}


@pytest.fixture
def day_of_bars(conn: psycopg.Connection[Any]) -> list[str]:
    """One session of 2,000 instruments, bars made of two trades a minute, and official ones; returns the keys."""
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
    conn.execute("select tickline.ensure_partitions('2025-12-15', '2025-12-15')")
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, received_at) "
        "select timestamptz '2025-12-15 03:45+00' + n * interval '30 s', instrument_id, n, true, "
        "100 + random(), n + 1, 1, 7 * n, now() from generate_series(0, %s) as n cross join instruments",
        (2 * MINUTES - 1,),
    )
    conn.execute("call tickline.refresh_bars('2025-12-15', '2025-12-16')")
    conn.execute("vacuum analyze")
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
    def raw(relation: str, source: str) -> pl.DataFrame:
        with dbapi.connect(database.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"select instrument_id, bucket, open, high, low, close, volume, oi, {source} as source, "
                f"'complete' as quality from {relation} where bucket >= '2025-12-15' and bucket < '2025-12-16'"
            )
            return pl.DataFrame(cursor.fetch_arrow_table())

    print()
    raw_s = {
        "official": fastest(lambda: raw("official_bars_1m", "source"), INSTRUMENTS * MINUTES),
        "ticks": fastest(lambda: raw("bars_1m", "'ticks'"), INSTRUMENTS * MINUTES),
    }
    raw_s["best"] = raw_s["official"]
    ratios = {}
    for source, interval, count in [
        ("official", "1m", MINUTES),
        ("ticks", "1m", MINUTES),
        *(("best", interval, count) for interval, count in (("1m", 375), ("5m", 75), ("15m", 25), ("1d", 1))),
    ]:
        read = lambda s=source, i=interval: analytics.bars(day_of_bars, interval=i, source=s, database=database)  # noqa: E731
        ours_s = fastest(read, INSTRUMENTS * count)
        ratio = raw_s[source] / ours_s
        ratios.setdefault(source, ratio)
        print(
            f"{database.engine}: raw 1m {raw_s[source]:.3f} s, analytics.bars {source} {interval} "
            f"{ours_s:.3f} s, ratio {ratio:.2f}"
        )
    assert all(ratios[source] >= least for source, least in RAW_RATIO_MIN.items())
