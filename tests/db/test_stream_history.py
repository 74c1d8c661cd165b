"""Ticks of the past for a stream that goes on: asked for again while the database is busy, and never another's."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingest.database import questions as asking
from ingest.database.connections import Database
from ingest.database.pool import Pool
from ingest.database.questions import Questions
from ingest.live.broadcast import history
from ingest.live.broadcast.history import HistoryError
from tests.db.pools import used
from tests.engines import on_one_engine

pytestmark = on_one_engine
AT = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
KEY = "NSE_FO|35000"


def note(conn: psycopg.Connection[Any], collector: str, first: int, last: int, at: datetime) -> None:
    """Write ticks of a collector, one a second, with their row of the ledger."""
    conn.execute("select tickline.ensure_partitions(%s, %s)", [at, at])
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, received_at) select at, 1, seq, true, 100, at"
        " from generate_series(%s::int, %s) as seq"
        " cross join lateral (select %s + seq * interval '1 s' as at) as moment",
        [first, last, at],
    )
    conn.execute(
        "insert into tickline.ledger (collector, segment, offset_start, offset_end, first_seq, last_seq, frames, ticks,"
        " first_ts, last_ts) values (%s, '1/0', %s, %s, %s, %s, 1, 1, %s, %s)",
        [collector, first, last, first, last, at + timedelta(seconds=first), at + timedelta(seconds=last)],
    )


async def read(questions: Questions, after: int, until: int) -> list[int]:
    """Return the seq of the ticks of collector `mine`."""
    found: list[int] = []
    async for _, rows in history.ticks(
        questions, collector="mine", stream="1", keys=None, after=after, until=until, committed=lambda: until
    ):
        found += [json.loads(row)[3] for row in rows]
    return found


@pytest.fixture
def recorded(database: Database) -> Database:
    with database.connect(autocommit=True) as conn:
        conn.execute(
            "insert into instruments (instrument_id, instrument_key, valid_from) overriding system value"
            " values (1, %s, '2026-01-01')",
            [KEY],
        )
        conn.execute("insert into tickline.active_instruments (instrument_id) values (1)")
        note(conn, "mine", 1, 50, AT)
        note(conn, "mine", 51, 99, AT)
        note(conn, "other", 40, 60, AT + timedelta(hours=1))  # the same numbers at another time
        note(conn, "other", 200, 260, AT - timedelta(seconds=180))  # other numbers at the same time
    return database


def test_ticks_of_another_collector_are_left_out_or_the_reason_is_said(recorded: Database) -> None:
    async def work(pool: Pool) -> list[int]:
        return await read(Questions(pool, lambda: True), 10, 99)

    assert used(recorded.url, work) == list(range(11, 100))
    with recorded.connect(autocommit=True) as conn:
        note(conn, "other", 70, 80, AT)
    with pytest.raises(HistoryError, match="collector 'other' has ticks of the same time and numbers"):
        used(recorded.url, work)

    async def before(pool: Pool) -> list[int]:
        return await read(Questions(pool, lambda: True), 10, 50)

    assert used(recorded.url, before) == list(range(11, 51))


def test_busy_database_is_asked_again_until_the_limit(recorded: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "RETRY_S", 0.01)
    monkeypatch.setattr(history, "RETRY_S_MAX", 0.02)
    asked = 0

    def is_askable() -> bool:
        nonlocal asked
        asked += 1
        return True

    async def work(pool: Pool, *, tries: int) -> list[int]:
        nonlocal asked
        asked = 0
        with recorded.connect() as conn, monkeypatch.context() as patch:
            patch.setattr(asking, "ANSWERED_S", 0.05)
            conn.execute("lock table instruments in access exclusive mode")
            reading = asyncio.create_task(read(Questions(pool, is_askable), 10, 99))
            while asked < tries and not reading.done():
                await asyncio.sleep(0.01)
            patch.undo()  # a busy machine may take longer for an answer
            conn.rollback()
        return await reading

    # More often than the three times of before.
    assert used(recorded.url, lambda pool: work(pool, tries=6)) == list(range(11, 100))
    monkeypatch.setattr(history, "PATIENCE_S", 0.2)
    with pytest.raises(HistoryError, match=r"database has not answered for 0.05 s: .* \(asked for 0.2 s\)"):
        used(recorded.url, lambda pool: work(pool, tries=1_000))
