"""How fast a day of minute bars comes into Polars: `make bench`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import pytest

import analytics
from ingest.database.connections import Database

INSTRUMENTS, MINUTES, RUNS = 2000, 375, 5
# Raw time over ours: the bytes of the same rows, by one connection of the same driver. The reader makes columns of
# them, with names, types and order, and reads by several connections; of the best bars it reads two for each it gives.
RAW_RATIO_MIN = 0.7


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


def fastest(read: Callable[[], None]) -> float:
    """Return the shortest of several runs in seconds."""
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        read()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@pytest.mark.bench
def test_bars_of_a_day_are_read_near_the_speed_of_the_driver(
    day_of_bars: list[str], database: Database, conn: psycopg.Connection[Any]
) -> None:
    at = conn.info  # asyncpg does not know all parameters of a libpq URL
    where = {"host": at.host, "port": at.port, "user": at.user, "database": at.dbname}

    async def raw(relation: str, source: str) -> None:
        connection = await asyncpg.connect(**where)
        parts: list[bytes] = []

        async def put(data: bytes) -> None:
            parts.append(data)

        text = (
            f"select instrument_id, bucket, open, high, low, close, volume, oi, {source} from {relation} "
            "where bucket >= '2025-12-15' and bucket < '2025-12-16'"
        )
        assert await connection.copy_from_query(text, output=put, format="binary") == f"COPY {INSTRUMENTS * MINUTES}"
        await connection.close()

    print()
    raw_s = {
        "official": fastest(lambda: asyncio.run(raw("official_bars_1m", "source <> 'I1'"))),
        "ticks": fastest(lambda: asyncio.run(raw("bars_1m", "trades < 2, iv, delta, gamma"))),
    }
    raw_s["best"] = raw_s["official"] + raw_s["ticks"]
    ratios = {}
    for source, interval, count in [
        ("official", "1m", MINUTES),
        ("ticks", "1m", MINUTES),
        *(("best", interval, count) for interval, count in (("1m", 375), ("5m", 75), ("15m", 25), ("1d", 1))),
    ]:

        def read(source: Any = source, interval: str = interval, count: int = count) -> None:
            frame = analytics.bars(day_of_bars, interval=interval, source=source, database=database)
            assert frame.height == INSTRUMENTS * count

        ours_s = fastest(read)
        ratio = raw_s[source] / ours_s
        ratios.setdefault(source, ratio)
        print(
            f"{database.engine}: raw 1m {raw_s[source]:.3f} s, analytics.bars {source} {interval} "
            f"{ours_s:.3f} s, ratio {ratio:.2f}"
        )
    assert min(ratios.values()) >= RAW_RATIO_MIN
