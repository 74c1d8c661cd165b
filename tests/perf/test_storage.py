"""What a tick costs on disk, and how fast it comes back: the recorded session, `make bench`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

import analytics
from analytics.read.export import export_day
from ingest.database.connections import Database
from ingest.pipeline.replay import replay
from ingest.settings import Settings
from tests.data import data_file

DAY, NEXT_DAY, RUNS = date(2025, 12, 15), date(2025, 12, 16), 5
COLUMNSTORE_BYTES_MAX = 33.4  # a tick of 28 columns, with its share of the indexes; with the ledger below 34
SIZE = {
    "timescale": "select hypertable_size('ticks')",
    "postgres": "select sum(pg_total_relation_size(relid))::int8 from pg_partition_tree('ticks')",
}

COLUMNSTORE_JOB = "select job_id from timescaledb_information.jobs where proc_name = 'compress_ticks'"


def fastest_ms(read: Callable[[], Any]) -> float:
    """The shortest of several runs."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        read()
        times.append(time.perf_counter() - began)
    return min(times) * 1e3


@pytest.mark.bench
def test_tick_in_the_columnstore_takes_few_bytes(
    database: Database, conn: psycopg.Connection[Any], tmp_path: Path
) -> None:
    asyncio.run(replay(Settings(), database.url, [data_file("session-20251215-open.frames.gz")]))
    conn.execute("vacuum analyze ticks")
    ticks, busiest = conn.execute(
        "select sum(n)::int8, (array_agg(instrument_key order by n desc))[1] from "
        "(select instrument_key, count(*) as n from ticks join instruments using (instrument_id) group by 1) as counted"
    ).fetchone() or (0, "")

    def show(what: str) -> float:
        size = (conn.execute(SIZE[database.engine]).fetchone() or (0,))[0] / ticks
        read_ms = fastest_ms(lambda: analytics.ticks(busiest, start=DAY, end=NEXT_DAY, database=database))
        bars_ms = fastest_ms(lambda: analytics.bars(busiest, start=DAY, end=NEXT_DAY, database=database))
        rows = analytics.ticks(busiest, start=DAY, end=NEXT_DAY, database=database).height
        print(
            f"{database.engine} {what}: {size:.1f} bytes/tick; an instrument's day: "
            f"{rows:,} ticks {read_ms:.0f} ms, bars {bars_ms:.0f} ms"
        )
        return size

    print()
    rows_bytes = show("rows")
    file, _ = export_day(DAY, tmp_path, database)
    print(f"{database.engine} Parquet: {file.stat().st_size / ticks:.1f} bytes/tick")
    if database.engine == "timescale":
        conn.execute("call run_job(%s)", conn.execute(COLUMNSTORE_JOB).fetchone())
        assert show("columnstore") < COLUMNSTORE_BYTES_MAX < rows_bytes
