"""Official bars in the columnstore: questions get what they got from rows, and bars are still stored and repaired."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import polars.testing
import psycopg
import pytest

import analytics
from analytics.read.minute_reader import MinuteReader
from ingest.database import queries
from ingest.database.connections import Database
from ingest.database.pool import Pool
from ingest.repair.backfill_store import Store, Task
from ingest.upstox.answers import Candle
from tests.conftest import Template

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.parametrize("engine", ["timescale"], indirect=True)  # the other has no columnstore
INSTRUMENTS, MINUTES = 300, 375  # more rows in a chunk than TimescaleDB changes in a transaction by default
OPEN = datetime(2025, 12, 15, 3, 45, tzinfo=UTC)
DAY = {"start": datetime(2025, 12, 15, tzinfo=UTC), "end": datetime(2025, 12, 16, tzinfo=UTC)}
MINUTES_5 = {"start": OPEN + timedelta(minutes=3), "end": OPEN + timedelta(minutes=8)}
MINUTE = {"start": OPEN + timedelta(minutes=60), "end": OPEN + timedelta(minutes=61)}
SHAPES = [
    "select * from {} where bucket >= %(start)s and bucket < %(end)s",
    "select * from {} where bucket >= %(start)s and bucket < %(end)s order by bucket, instrument_id",
    "select * from {} where bucket >= %(start)s and bucket < %(end)s order by instrument_id, bucket",
    "select * from {} where instrument_id in (7, 8) and bucket >= %(start)s and bucket < %(end)s order by bucket",
    "select * from {} where instrument_id = 7 and bucket >= %(start)s and bucket < %(end)s order by bucket",
    "select * from {} where instrument_id = 7 order by bucket desc limit 3",
    "select bucket, count(*), max(close) from {} where bucket >= %(start)s and bucket < %(end)s group by bucket",
    "select instrument_id, max(close) from {} where bucket >= %(start)s and bucket < %(end)s group by instrument_id",
    "select instrument_key, {0}.* from {0} join instruments using (instrument_id) where instrument_key = 'NSE_EQ|7' "
    "and bucket >= %(start)s and bucket < %(end)s",
]
PLANS = [
    {},
    {"enable_hashagg": "off", "enable_hashjoin": "off"},
    {"enable_seqscan": "off", "enable_sort": "off"},
    {"parallel_setup_cost": "0", "parallel_tuple_cost": "0", "min_parallel_table_scan_size": "0"},
]
FILES = {
    "read/bars_official_1m": {},
    "read/bars_ticks_1m": {"from_id": None, "below_id": None},
    "reconcile/minutes_side_by_side": {},
    "reconcile/reconciled_instruments": {},
    "repair/has_traded": {"instrument_id": 7},
}


def fill(conn: Connection) -> None:
    """Two days of official bars of all instruments, and ticks of twenty; every tenth bar has another source."""
    conn.execute("insert into instruments (instrument_key) select 'NSE_EQ|' || n from generate_series(1, 300) as n")
    for day in (0, 14):
        conn.execute(
            "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, source) "
            "select id, %s::timestamptz + n * interval '1 minute', 100 + id, 102 + id, 99 + id, 101 + n, 7, "
            "case when n %% 10 = 0 then 'intraday' else 'I1' end "
            "from generate_series(1, %s) as id, generate_series(0, %s - 1) as n",
            (OPEN + timedelta(days=day), INSTRUMENTS, MINUTES),
        )
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
        "select %s::timestamptz + n * interval '30 seconds', id, n, true, 100 + n, n * 10, 10, now() "
        "from generate_series(1, 20) as id, generate_series(1, 200) as n",
        (OPEN,),
    )
    conn.execute("insert into unheard_minutes values (7, %s, 'gap')", (OPEN + timedelta(minutes=5),))
    conn.execute(queries.query("store/refresh_bars"), {"from_ts": DAY["start"], "to_ts": DAY["end"]})


def convert(conn: Connection) -> None:
    """Run every job that converts something to the columnstore."""
    jobs = conn.execute(
        "select job_id from timescaledb_information.jobs where proc_name in ('compress_ticks', 'policy_compression')"
    ).fetchall()
    assert len(jobs) >= 4  # ticks, official bars, and bars of one and of five minutes
    for job in jobs:
        conn.execute("call run_job(%s)", job)
    conn.execute("analyze")


def converted(conn: Connection) -> list[Any]:
    return conn.execute(
        "select hypertable_name, count(*) filter (where is_compressed), count(*) from timescaledb_information.chunks "
        "group by 1 order by 1"
    ).fetchall()


def all_asked(database: Database, conn: Connection) -> dict[str, Any]:
    """The answers to all questions, by question; rows that are not ordered are sorted."""
    views = conn.execute(
        "select table_name from information_schema.columns where table_schema = 'public' "
        "and column_name in ('bucket', 'close') group by 1 having count(*) = 2"
    ).fetchall()
    assert {("best_bars_1m",), ("best_bars_5m",), ("official_bars_1m",), ("bars_1m",)} <= set(views)
    answers: dict[str, Any] = {}
    for plan in PLANS:
        with database.connect(autocommit=True) as asking:
            for name, value in plan.items():
                asking.execute(f"set {name} = {value}")
            for span in (MINUTES_5, MINUTE) if not plan else (MINUTE,):
                for (view,) in views if not plan else [("official_bars_1m",), ("best_bars_5m",)]:
                    for shape in SHAPES:
                        rows = asking.execute(shape.format(view), span).fetchall()
                        answers[f"{plan} {span} {view} {shape}"] = sorted(rows, key=repr)
                for name, given in FILES.items():
                    for ids in (None, [7, 8]):
                        rows = asking.execute(queries.query(name), span | given | {"instrument_ids": ids}).fetchall()
                        answers[f"{plan} {span} {name} {ids}"] = sorted(rows, key=repr)
    keys = [f"NSE_EQ|{number}" for number in (7, 8, 250)]
    for source in ("best", "official", "ticks"):
        for interval in ("1m", "5m", "15m", "1d"):
            answers[f"{source} {interval}"] = analytics.bars(
                keys, interval=interval, source=source, start=DAY["start"], end=DAY["end"], database=database
            )
            rows = conn.execute(
                "select * from bars(array[7, 8, 250], %s, %s, %s, %s)", (interval, DAY["start"], DAY["end"], source)
            )
            answers[f"bars() {source} {interval}"] = sorted(rows.fetchall(), key=repr)
    with MinuteReader(database, conn) as minutes:
        answers["minutes"] = minutes.read(MINUTE["start"], MINUTE["end"])
    return answers


@pytest.fixture(scope="module")
def before_and_url(template: Template) -> Iterator[tuple[dict[str, Any], str]]:
    """The answers while all were rows, and a database in which they are converted: tests take copies of it."""
    with template.fresh() as database:
        with database.connect(autocommit=True) as conn:
            fill(conn)
            before = all_asked(database, conn)
            convert(conn)
            assert {(converted, total) for _, converted, total in converted(conn)} == {(1, 1), (2, 2)}
        yield before, database.url


@pytest.fixture
def database(template: Template, before_and_url: tuple[dict[str, Any], str]) -> Iterator[Database]:
    with template.fresh(source_url=before_and_url[1]) as database:
        yield database


def test_every_question_gets_from_the_columnstore_what_it_got_from_rows(
    before_and_url: tuple[dict[str, Any], str], database: Database, conn: Connection
) -> None:
    before, after = before_and_url[0], all_asked(database, conn)
    assert before.keys() == after.keys()
    for question, expected in before.items():
        if isinstance(expected, pl.DataFrame):
            pl.testing.assert_frame_equal(after[question], expected)
        else:
            assert after[question] == expected, question
    assert sum(len(answer) > 0 for answer in before.values()) > 0.8 * len(before)


def official(conn: Connection, minute: int) -> list[Any]:
    return conn.execute(
        "select close, source, count(*) from official_bars_1m where bucket = %s group by 1, 2 order by 1, 2",
        (OPEN + timedelta(minutes=minute),),
    ).fetchall()


def take(conn: Connection, minute: int, ids: list[int]) -> None:
    many, bucket = len(ids), OPEN + timedelta(minutes=minute)
    prices = {name: [1.0] * many for name in ("open", "high", "low", "close")}
    conn.execute(
        queries.query("store/take_official_bars"),
        {"instrument_ids": ids, "buckets": [bucket] * many, "volumes": [5] * many, "received": [bucket] * many}
        | prices,
    )


def test_bars_of_the_feed_are_stored_in_converted_weeks_each_once(conn: Connection) -> None:
    everyone = list(range(1, INSTRUMENTS + 1))
    count = conn.execute("select count(*) from official_bars_1m").fetchone()
    for _ in range(2):
        take(conn, 10, everyone)  # a bar of the feed replaces one of REST
        take(conn, 11, everyone)  # of two of the feed the first stays
        take(conn, MINUTES, everyone[:5])  # a new one
        assert official(conn, 10) == [(1.0, "I1", INSTRUMENTS)]
        assert official(conn, 11) == [(112.0, "I1", INSTRUMENTS)]
        assert official(conn, MINUTES) == [(1.0, "I1", 5)]
        assert conn.execute("select count(*) - 5 from official_bars_1m").fetchone() == count
        convert(conn)
    best = conn.execute(
        "select count(*), min(close) from best_bars_1m where bucket = %s", (OPEN + timedelta(minutes=10),)
    ).fetchone()
    assert best == (INSTRUMENTS, 1.0)


def test_backfill_fills_converted_weeks_and_settles_their_minutes(conn: Connection, database: Database) -> None:
    conn.execute("delete from official_bars_1m where instrument_id = 7 and bucket >= %s and bucket < %s", (
        OPEN, OPEN + timedelta(minutes=30),
    ))  # fmt: skip
    convert(conn)
    candles = [
        Candle(
            bucket_ms=int((OPEN + timedelta(minutes=minute)).timestamp() * 1000),
            open=1.0, high=2.0, low=0.5, close=1.5, volume=3, oi=0,
        )
        for minute in range(40)
    ]  # fmt: skip

    async def run() -> tuple[list[Task], tuple[int, int, int], list[Task]]:
        async with Pool(database.url) as pool:
            store = Store(pool)
            tasks = await store.tasks(DAY["start"], DAY["end"])
            counts = await store.fill(tasks[0], candles, "historical", DAY["start"], None)
            return tasks, counts, await store.tasks(DAY["start"], DAY["end"])

    tasks, counts, left = asyncio.run(run())
    assert [(task.instrument_id, task.day, task.minutes) for task in tasks] == [(7, date(2025, 12, 15), 1)]
    assert counts == (30, 10, 1) and left == []
    rows = conn.execute(
        "select source, quality, count(*) from best_bars_1m where instrument_id = 7 and bucket >= %s and bucket < %s "
        "group by 1, 2 order by 1, 2",
        (DAY["start"], DAY["end"]),
    ).fetchall()
    assert rows == [("backfill", "complete", 30 + 35), ("official", "complete", MINUTES - 65)]
