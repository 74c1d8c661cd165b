"""Ticks and bars of one instrument, in seconds of a test day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from ingest.database import queries

# On the first day of a ten-day chunk of TimescaleDB: a first refresh begins with the chunk, and goes by 50 minutes.
START = datetime(2025, 12, 8, 4, 0, tzinfo=UTC)
BARS = "select bucket, open, high, low, close, volume, oi, ticks, trades from {} where instrument_id = 1 order by 1"
Connection = psycopg.Connection[Any]


def at(seconds: float) -> datetime:
    """A time of the test day."""
    return START + timedelta(seconds=seconds)


def insert(conn: Connection, rows: list[tuple[Any, ...]], *, instrument_id: int = 1) -> None:
    """Insert ticks given as (seconds, seq, traded, ltp, vtt, volume[, oi])."""
    conn.execute("select tickline.ensure_partitions(%s, %s)", (at(rows[0][0]), at(rows[-1][0])))
    with (
        conn.cursor() as cursor,
        cursor.copy(
            "copy ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, received_at) from stdin"
        ) as copy,
    ):
        for seconds, seq, traded, ltp, vtt, volume, *oi in rows:
            ts = at(seconds)
            copy.write_row((ts, instrument_id, seq, traded, ltp, vtt, volume, oi[0] if oi else None, ts))


def refresh(conn: Connection, first: float, last: float) -> None:
    """Refresh the bars of a range of seconds."""
    conn.execute(queries.query("store/refresh_bars"), {"from_ts": at(first), "to_ts": at(last)})


def bars(conn: Connection, view: str = "bars_1m") -> list[tuple[Any, ...]]:
    """The bars of instrument 1, with the bucket in seconds."""
    return [((row[0] - START).total_seconds(), *row[1:]) for row in conn.execute(BARS.format(view)).fetchall()]


def watermark(conn: Connection, view: str) -> float:
    """The watermark in seconds of the test day."""
    row = conn.execute("select tickline.bar_watermark(%s)", (view,)).fetchone()
    assert row is not None
    return float((row[0] - START).total_seconds())


def trades(conn: Connection, minutes: int, *, instrument_id: int = 1) -> None:
    """Three trades a minute of 10 units each."""
    rows = [(i * 20.0, i, True, 100.0 + i % 7, i * 10 + 10, 10, i) for i in range(minutes * 3)]
    insert(conn, rows, instrument_id=instrument_id)


GREEKS = "select extract(epoch from bucket - %s)::int, iv, delta, gamma from {} where instrument_id = 1 order by 1"


def greeks(conn: Connection, view: str) -> list[tuple[Any, ...]]:
    """Volatility and greeks of the bars of instrument 1, with the bucket in seconds."""
    return conn.execute(GREEKS.format(view), (START,)).fetchall()


def official(conn: Connection, seconds: float, price: float, source: str) -> None:
    """Insert an official bar of 7 units."""
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, source) "
        "values (1, %s, %s, %s, %s, %s, 7, %s)",
        (at(seconds), price, price, price, price, source),
    )
