"""Ticks behind the watermark: seen after a refresh whose work is in proportion to the minutes they touch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner

from ingest.cli import group
from ingest.database.connections import Database
from ingest.database.pool import run_with_pool
from ingest.database.queries import query
from ingest.journal.recording import write_recording
from ingest.pipeline.replay import replay
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.settings import Settings
from ingest.store.bar_refresh import refresh_touched, touching
from ingest.store.writer import Writer

Connection = psycopg.Connection[Any]
OPEN = datetime(2025, 12, 15, 3, 45, tzinfo=UTC)
MINUTES, INSTRUMENTS, LATE = 375, 20, 10_000


def rewritten(conn: Connection, engine: str) -> int:
    """Rows that were inserted into the tables of bars so far."""
    conn.execute("select pg_stat_force_next_flush()")
    if engine == "postgres":
        found = conn.execute(
            "select sum(n_tup_ins) from pg_stat_all_tables where relname in ('bars_1m_stored', 'bars_5m_stored')"
        )
    else:
        found = conn.execute(
            "select sum(n_tup_ins) from pg_stat_all_tables as stat "
            "inner join timescaledb_information.chunks on schemaname = chunk_schema and relname = chunk_name "
            "inner join timescaledb_information.continuous_aggregates as view "
            "on view.materialization_hypertable_name = chunks.hypertable_name"
        )
    return int((found.fetchone() or (0,))[0] or 0)


def commit(conn: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Copy rows and note their minutes, in one transaction."""
    with conn.transaction():
        statement = "copy ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) from stdin"
        with conn.cursor().copy(statement) as out:
            for ts_us, *rest in rows:
                at = datetime.fromtimestamp(ts_us / 1e6, UTC)
                out.write_row((at, *rest, at))
        conn.execute(*touching(np.array([row[0] for row in rows])))


def minutes_left(conn: Connection) -> int:
    return int(conn.execute("select count(*) from tickline.touched_minutes").fetchall()[0][0])


def bars(conn: Connection) -> list[list[tuple[Any, ...]]]:
    return [conn.execute(f"select * from {view} order by 1, 2").fetchall() for view in ("bars_1m", "bars_5m")]


def test_late_ticks_over_a_day_cost_what_they_touch(conn: Connection, database: Database) -> None:
    conn.execute("select tickline.ensure_partitions(%s, %s)", (OPEN, OPEN))
    start_us = OPEN.timestamp() * 1e6
    day = [
        (start_us + (minute * 60 + 20 * n) * 1e6, instrument, minute * 3 + n, True, 100.0 + n, 1000 * minute + n + 1, 1)
        for minute in range(MINUTES)
        for n in range(3)
        for instrument in range(1, INSTRUMENTS + 1)
    ]
    commit(conn, day)
    run_with_pool(database.url, refresh_touched)
    assert minutes_left(conn) == 0
    whole = rewritten(conn, database.engine)
    assert whole >= INSTRUMENTS * (MINUTES - 1 + 74)

    rng = random.Random(5)
    minutes = sorted(rng.sample(range(MINUTES - 1), 12))
    late = [
        (start_us + rng.choice(minutes) * 60e6 + rng.randrange(60_000_000), rng.randint(1, INSTRUMENTS), 10_000 + n)
        for n in range(LATE)
    ]
    before = bars(conn)
    commit(conn, [(*row, True, 500.0, 400_000 + n, 1) for n, row in enumerate(late)])
    assert minutes_left(conn) == len(minutes)
    run_with_pool(database.url, refresh_touched)
    assert minutes_left(conn) == 0

    after = bars(conn)
    changed = {(row[0], row[1]) for row in after[0]} & {
        (new[0], new[1]) for old, new in zip(before[0], after[0], strict=True) if old != new
    }
    assert {(at - OPEN).total_seconds() // 60 for _, at in changed} == set(minutes)
    assert all(bar[3] == 500.0 for bar in after[0] if (bar[0], bar[1]) in changed)
    fives = len({minute // 5 for minute in minutes})
    to_the_end = 4  # nobody writes: the last of them up to the end of its five minutes
    assert rewritten(conn, database.engine) - whole <= INSTRUMENTS * (len(minutes) + to_the_end + fives)
    # And what the bars say is what they say when the whole day is made anew.
    conn.execute("call tickline.refresh_bars('2025-12-15', '2025-12-16')")
    assert bars(conn) == after


LIVE_KEY, LATE_KEY = "NSE_EQ|INE009A01021", "NSE_EQ|INE002A01018"
LATE_AFTER_S = 600


def frames_with_a_late_trade() -> Iterator[tuple[int, bytes]]:
    """A trade each second of one instrument; of another a trade that is told ten minutes after it was made."""
    start_ms = int(OPEN.timestamp() * 1000)
    for second in range(LATE_AFTER_S + 60):
        now_ms = start_ms + second * 1000
        message = pb.FeedResponse(type=pb.live_feed, currentTs=now_ms)
        trades = [(LIVE_KEY, now_ms, 1000 + second)]
        if second == 0:
            trades.append((LATE_KEY, now_ms, 500))
        elif second == LATE_AFTER_S:
            trades.append((LATE_KEY, start_ms + 30_000, 507))
        for key, ltt_ms, vtt in trades:
            market = message.feeds[key].fullFeed.marketFF
            market.ltpc.ltp, market.ltpc.ltt, market.ltpc.ltq, market.vtt = 100.0, ltt_ms, 1, vtt
            message.feeds[key].requestMode = pb.full_d5
        yield now_ms, message.SerializeToString()


def replayed(database: Database, folder: Path) -> None:
    path = folder / "late.frames.gz"
    write_recording(path, frames_with_a_late_trade())
    asyncio.run(replay(Settings(), database.url, [path]))


def test_late_tick_has_a_transaction_of_its_own_and_its_frame_is_written_once(
    conn: Connection, database: Database, tmp_path: Path
) -> None:
    replayed(database, tmp_path)
    spans = conn.execute("select count(*), max(ts) - min(ts) from ticks group by xmin::text order by 1").fetchall()
    late = conn.execute("select ts, volume from ticks where seq = %s and volume = 7", (LATE_AFTER_S + 1,)).fetchall()
    assert late == [(OPEN + timedelta(seconds=30), 7)]
    # All but that one are of one batch, as long as the recording: in order, so none of them is late.
    assert [count for count, _ in spans] == [1, LATE_AFTER_S + 61]
    assert conn.execute("select count(*) from tickline.late_ticks").fetchone() == (0,)
    found = conn.execute(
        "select volume from bars_1m join instruments using (instrument_id) where instrument_key = %s and bucket = %s",
        (LATE_KEY, OPEN),
    ).fetchall()
    assert found == [(7,)]


def test_late_ticks_that_a_crash_left_are_moved_by_the_next_writer(
    conn: Connection, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two transactions: the row is counted by its frame, and gets in with its bar."""
    replayed(database, tmp_path)
    before = conn.execute("select count(*) from ticks").fetchone()
    conn.execute(
        "with taken as (delete from ticks where seq = %s and volume = 7 returning *)"
        " insert into tickline.late_ticks select * from taken",
        (LATE_AFTER_S + 1,),
    )
    conn.execute("call tickline.refresh_bars(%s, %s)", (OPEN, OPEN + timedelta(minutes=1)))
    span = {"first_ts": OPEN, "last_ts": OPEN + timedelta(hours=1)}
    with conn.cursor().copy(query("audit/ticks_by_frame"), span) as copy:
        copy.set_types(["int8"] * 4)
        counted = [row[2] for row in copy.rows()]
    assert sum(counted) == (before or (0,))[0]
    with Writer(database.url, "another"):
        pass
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    done = CliRunner().invoke(group, ["db", "refresh"], catch_exceptions=False)
    assert done.output == "all unfinished bars rebuilt\n"
    assert conn.execute("select count(*) from ticks").fetchone() == before
    found = conn.execute(
        "select volume from bars_1m join instruments using (instrument_id) where instrument_key = %s and bucket = %s",
        (LATE_KEY, OPEN),
    ).fetchall()
    assert found == [(7,)]


def test_minute_that_ticks_are_committed_in_during_its_refresh_is_made_again(
    conn: Connection, database: Database
) -> None:
    conn.execute("select tickline.ensure_partitions(%s, %s)", (OPEN, OPEN))
    start_us = OPEN.timestamp() * 1e6
    commit(conn, [(start_us + n * 60e6, 1, n, True, 100.0, n + 1, 1) for n in range(3)])
    read = conn.execute(query("store/touched_ranges")).fetchall()
    assert [(row[0], row[1]) for row in read] == [(OPEN, OPEN + timedelta(minutes=2, microseconds=1))]
    made = {"minutes": read[0][2], "touched_by": read[0][3], "made_until": OPEN + timedelta(minutes=5)}
    commit(conn, [(start_us + 60e6 + 1, 1, 3, True, 101.0, 4, 1)])
    with database.connect() as committing:  # what is about to be committed is not waited for
        committing.execute(*touching(np.array([start_us + 120e6 + 1])))
        conn.execute(query("store/forget_minutes"), made)
        committing.commit()
    left = conn.execute("select minute, last_ts from tickline.touched_minutes order by minute").fetchall()
    minutes = [OPEN + timedelta(minutes=n) for n in (1, 2)]
    assert left == [(minute, minute + timedelta(microseconds=1)) for minute in minutes]
    run_with_pool(database.url, refresh_touched)
    assert minutes_left(conn) == 0
