"""Order books in the database on request: every level that was sent, once, beside its tick; nothing when off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from click.testing import CliRunner

import analytics
from ingest.cli import group
from ingest.database import queries
from ingest.database.connections import Database
from ingest.database.operations.retention import note_day, retain
from ingest.journal.recording import read_recording
from ingest.pipeline.replay import replay
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.settings import Settings
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import Command, wait_until

Connection = psycopg.Connection[Any]
DAY, NEXT_DAY = date(2025, 12, 15), date(2025, 12, 16)
STORED = (
    "select instrument_key, seq, level::int, bid, bid_qty, ask, ask_qty from instruments "
    "join depth using (instrument_id), unnest(bids, bid_qtys, asks, ask_qtys) "
    "with ordinality as levels (bid, bid_qty, ask, ask_qty, level) "
    "where bid is not null or ask is not null order by 1, 2, 3"
)


def sent(session: Path) -> list[tuple[Any, ...]]:
    """The levels in the frames of a recording, as protobuf reads them."""
    rows: list[tuple[Any, ...]] = []
    for seq, frame in enumerate(read_recording(session), 1):
        for key, feed in pb.FeedResponse.FromString(frame.payload).feeds.items():
            for level, quote in enumerate(feed.fullFeed.marketFF.marketLevel.bidAskQuote, 1):
                bid = (quote.bidP, quote.bidQ) if quote.bidP > 0 else (None, None)
                ask = (quote.askP, quote.askQ) if quote.askP > 0 else (None, None)
                if quote.bidP > 0 or quote.askP > 0:
                    rows.append((key, seq, level, *bid, *ask))
    return sorted(rows)


@pytest.fixture(scope="module")
def recorded(database_to_read: Database, short_session: Path) -> Iterator[Database]:
    """A database with the books of the short session, replayed twice."""
    for _ in range(2):
        asyncio.run(replay(Settings(depth=True), database_to_read.url, [short_session]))
    yield database_to_read


def test_every_level_that_was_sent_is_stored_once_beside_its_tick(
    recorded: Database, conn_to_read: Connection, short_session: Path
) -> None:
    expected = sent(short_session)
    assert len(expected) > 50_000 and {row[2] for row in expected} == {1, 2, 3, 4, 5}
    assert conn_to_read.execute(STORED).fetchall() == expected
    assert conn_to_read.execute(
        "select count(*) from depth left join ticks using (instrument_id, seq, ts) "
        "where (bids[1], bid_qtys[1], asks[1], ask_qtys[1]) "
        "is distinct from (ticks.bid, ticks.bid_qty, ticks.ask, ticks.ask_qty)"
    ).fetchone() == (0,)


def test_books_are_read_in_order_and_by_the_command(recorded: Database, conn_to_read: Connection) -> None:
    (key,) = conn_to_read.execute(
        "select instrument_key from depth join instruments using (instrument_id) group by 1 "
        "order by count(*) desc limit 1"
    ).fetchone() or ("",)
    frame = analytics.depth(key, start=DAY, end=NEXT_DAY, database=recorded)
    assert frame.height == len([row for row in conn_to_read.execute(STORED).fetchall() if row[0] == key])
    assert frame.equals(frame.sort("ts", "seq", "level")) and frame["level"][:5].to_list() == [1, 2, 3, 4, 5]
    assert (frame.filter(pl.col("level") == 1)["bid"] > frame.filter(pl.col("level") == 2)["bid"]).mean() > 0.99
    done = CliRunner(env={"TICKLINE_DATABASE_URL": recorded.url}).invoke(
        group, ["depth", key, "--from", str(DAY), "--to", str(NEXT_DAY), "--format", "csv"]
    )
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0] == "instrument_key,ts,seq,level,bid,bid_qty,ask,ask_qty"
    assert len(done.output.splitlines()) == 1 + frame.height


@pytest.mark.parametrize("engine", ["timescale"], indirect=True)
def test_books_in_the_columnstore_are_the_same(recorded: Database, conn_to_read: Connection) -> None:
    before = conn_to_read.execute(STORED).fetchall()
    (job,) = conn_to_read.execute(
        "select job_id from timescaledb_information.jobs where hypertable_name = 'depth'"
    ).fetchall()
    conn_to_read.execute("call run_job(%s)", job)
    chunks = conn_to_read.execute(
        "select bool_and(is_compressed) from timescaledb_information.chunks where hypertable_name = 'depth'"
    )
    assert chunks.fetchone() == (True,)
    assert conn_to_read.execute(STORED).fetchall() == before


def test_nothing_is_stored_unless_it_is_asked_for(database: Database, conn: Connection, short_session: Path) -> None:
    asyncio.run(replay(Settings(), database.url, [short_session]))
    assert conn.execute("select count(*) from depth").fetchone() == (0,)
    assert conn.execute("select count(*) > 0 from ticks").fetchone() == (True,)


@on_one_engine
def test_replay_that_is_killed_and_repeated_stores_every_level_once(
    database: Database, conn: Connection, short_session: Path, tmp_path: Path
) -> None:
    rng = random.Random(3)
    environment = {"TICKLINE_DATABASE_URL": database.url, "TICKLINE_DEPTH": "true", "TICKLINE_BATCH_ROWS_MAX": "200"}
    for kills in (1, 2, 0):
        with Command(tmp_path, "replay", str(short_session), **environment) as command:
            if kills:
                books = rng.randrange(1_000, 4_000) * kills
                wait_until(
                    lambda: (conn.execute("select count(*) from depth").fetchone() or (0,))[0] > books  # noqa: B023
                )
                command.kill()
            else:
                assert command.process.wait(timeout=180) == 0, command.text()
    assert conn.execute(STORED).fetchall() == sent(short_session)


def test_books_of_a_day_go_with_its_ticks(database: Database, conn: Connection, short_session: Path) -> None:
    asyncio.run(replay(Settings(depth=True), database.url, [short_session]))
    conn.execute(queries.query("store/refresh_bars"), {"from_ts": DAY, "to_ts": NEXT_DAY})
    note_day(conn, [DAY], reconciled_at=datetime.now(UTC))
    [report] = retain(database, NEXT_DAY)
    assert report.dropped, report.missing
    assert conn.execute("select count(*) from depth").fetchone() == (0,)


def test_days_without_books_are_dropped_too(database: Database, conn: Connection) -> None:
    for _ in range(2):
        conn.execute(queries.query("shared/ensure_depth_day"), {"day": DAY})
    for _ in range(2):
        conn.execute(queries.query("database/drop_depth_day"), {"day": DAY})


def test_other_session_may_make_the_day_at_once(template: Template, database: Database) -> None:
    with database.connect() as first, database.connect(autocommit=True) as second:
        first.execute(queries.query("shared/ensure_depth_day"), {"day": DAY})
        second.execute("set statement_timeout = '200ms'")
        if template.engine == "postgres":
            with pytest.raises(psycopg.errors.QueryCanceled):
                second.execute(queries.query("shared/ensure_depth_day"), {"day": DAY})
        first.commit()
        second.execute(queries.query("shared/ensure_depth_day"), {"day": DAY})
