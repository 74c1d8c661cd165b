"""Batches wait for their turn on the writer's thread: after one that fails, none behind it is written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from ingest.journal.reader import JournalReader
from ingest.journal.sources import JournalSource
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import RecordKind
from ingest.pipeline.consumer import Consumer, ConsumerLimits
from ingest.settings import settings
from ingest.store.retrying_writer import retrying_writer
from ingest.store.writer import LedgerBehindError, Writer
from tests.db.test_naming import TUESDAY, at_ms, frame

FRAMES, ROWS_MAX = 600, 20


def test_nothing_is_written_behind_a_batch_that_failed(
    database: Database, conn: psycopg.Connection[Any], tmp_path: Path
) -> None:
    asyncio.run(fail_and_go_on(database, conn, tmp_path))
    assert conn.execute("select count(*), count(distinct vtt) from ticks").fetchone() == (FRAMES, FRAMES)


async def fail_and_go_on(database: Database, conn: psycopg.Connection[Any], tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path, collector="one", stream="1", next_seq=1, limits=JournalLimits())
    for number in range(FRAMES):
        ms = at_ms(TUESDAY, number)
        journal.append(RecordKind.FRAME, frame(ms, {"NSE_EQ|A": number + 1}), ms * 1000)
    journal.close()
    with retrying_writer(Writer(database.url, "one"), settings()) as writer:
        reader = JournalReader(lambda: segments_of(tmp_path), follow=False)
        limits = ConsumerLimits(batch_rows_max=ROWS_MAX)
        consumer = Consumer(JournalSource(reader), writer, "1", limits)
        consumer.resume(writer.resume("1"))
        running = asyncio.create_task(consumer.run())
        while consumer.counts.batches < 3:
            await asyncio.sleep(0)
        writer.writer._behind["1"] = "database has lost committed batches"  # the next batch fails, and only that
        with pytest.raises(LedgerBehindError):
            await running
        [(frames, batches)] = conn.execute("select frames, batches from tickline.ledger").fetchall()
        assert 3 <= batches < FRAMES // ROWS_MAX
        assert frames == batches * ROWS_MAX
        reader.seek(None)
        consumer.resume(writer.resume("1"))
        await consumer.run()
