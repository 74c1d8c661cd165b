"""One commit of the writer: what a row that the database rejects costs, and what is remembered of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pytest

from ingest.database.connections import Database
from ingest.errors import StoreError
from ingest.model.ticks import TICK_COLUMN_NAMES
from ingest.store.batch import Batch
from ingest.store.row_buffer import RowBuffer
from ingest.store.writer import Writer

OPEN = datetime(2025, 12, 15, 3, 45, tzinfo=UTC)
NEXT_DAY_US = 86_400e6


def batch(offset: int, rows: list[dict[str, float]]) -> Batch:
    """A batch of ticks; what a row does not say is NULL."""
    buffer = RowBuffer(10)
    values = np.full((len(rows), len(TICK_COLUMN_NAMES)), np.nan)
    for place, row in enumerate(rows):
        for name, value in row.items():
            values[place, TICK_COLUMN_NAMES.index(name)] = value
    buffer.extend(values)
    buffer.encode()
    return Batch("one", offset, buffer, offset + 1, first_seq=offset + 1, last_seq=offset + 1, frames=1, digest="0")


def tick(seq: float, at_us: float) -> dict[str, float]:
    return {"ts": at_us, "instrument_id": 1, "seq": seq, "traded": 0.0, "ltp": 100.0, "received_at": at_us}


@pytest.fixture
def instrument(conn: psycopg.Connection[Any]) -> None:
    conn.execute(
        "insert into instruments (instrument_id, instrument_key, segment, trading_symbol) "
        "overriding system value values (1, 'NSE_EQ|A', 'NSE_EQ', 'A')"
    )


@pytest.mark.usefixtures("instrument")
def test_rejected_row_of_a_new_day_costs_only_itself(database: Database, conn: psycopg.Connection[Any]) -> None:
    start_us = OPEN.timestamp() * 1e6
    with Writer(database.url, "one") as writer:
        first = batch(0, [tick(1, start_us), tick(np.nan, start_us), tick(2, start_us + 1)])
        writer.write(first, "1")
        assert [row.tick["seq"] for row in first.rejected] == [None]
        writer.write(batch(1, [tick(3, start_us + NEXT_DAY_US), tick(np.nan, start_us + NEXT_DAY_US)]), "1")
        writer.write(batch(2, [tick(4, start_us + NEXT_DAY_US)]), "1")
    assert conn.execute("select seq from ticks order by seq").fetchall() == [(1,), (2,), (3,), (4,)]
    assert conn.execute("select count(*) from tickline.rejected_ticks").fetchone() == (2,)
    ledger = "select offset_start, offset_end, ticks, rejected, batches from tickline.ledger order by offset_start"
    assert conn.execute(ledger).fetchall() == [(0, 1, 2, 1, 1), (1, 3, 2, 1, 2)]


@pytest.mark.usefixtures("instrument")
def test_commit_that_fails_leaves_nothing_and_can_be_made_again(
    database: Database, conn: psycopg.Connection[Any]
) -> None:
    start_us = OPEN.timestamp() * 1e6
    with Writer(database.url, "one") as writer:
        conn.execute("alter table tickline.touched_minutes add constraint shut check (minute is null)")
        with pytest.raises((StoreError, psycopg.Error)):  # in the statements after the COPY, as a bad row would not be
            writer.write(batch(0, [tick(1, start_us)]), "1")
        conn.execute("alter table tickline.touched_minutes drop constraint shut")
        assert conn.execute("select count(*) from ticks").fetchone() == (0,)
        assert conn.execute("select count(*) from tickline.ledger").fetchone() == (0,)
        writer.write(batch(0, [tick(1, start_us)]), "1")
    assert conn.execute("select seq from ticks").fetchall() == [(1,)]
