"""Write queue: what was handed over reaches the journal in order, however long the disk takes nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from ingest.errors import JournalError
from ingest.journal.folder import segments_of
from ingest.journal.reader import JournalReader
from ingest.journal.write_queue import WRITE_QUEUE_BYTES_MAX, WriteQueue
from ingest.journal.writer import GROUP_BYTES_MAX, JournalLimits, JournalWriter
from ingest.model.records import RecordKind

T0_US = 1_765_771_374_000_000


def write_queue(folder: Path, **limits: int) -> WriteQueue:
    journal = JournalWriter(folder, collector="default", stream="1", next_seq=1, limits=JournalLimits(**limits))
    return WriteQueue(journal, lambda: None, retry_s=0.01)


def payloads_of(folder: Path) -> list[bytes]:
    reader = JournalReader(lambda: segments_of(folder), follow=False)
    found = []
    while not reader.finished:
        found += [record.payload for record in reader.read(2**20)]
    return found


async def written(write_queue: WriteQueue, payloads: list[bytes]) -> None:
    """Put payloads as fast as there is room, then close."""
    running = asyncio.create_task(write_queue.run())
    for payload in payloads:
        await write_queue.room()
        write_queue.put(RecordKind.FRAME, payload, T0_US)
    write_queue.close()
    await running
    write_queue.journal.close()


def test_spool_larger_than_its_bound_writes_all_in_order(tmp_path: Path) -> None:
    payloads = [b"%d" % number * 50_000 for number in range(10, 60)]
    assert sum(map(len, payloads)) > WRITE_QUEUE_BYTES_MAX > GROUP_BYTES_MAX
    asyncio.run(written(write_queue(tmp_path, segment_bytes_max=700_000), payloads))
    assert payloads_of(tmp_path) == payloads
    assert len(segments_of(tmp_path)) > 5


def test_spool_before_it_runs_has_room_to_its_bound_and_no_more(tmp_path: Path) -> None:
    async def fill() -> int:
        full, count = write_queue(tmp_path), 0
        with pytest.raises(TimeoutError):
            while True:
                await asyncio.wait_for(full.room(), 0.05)
                full.put(RecordKind.FRAME, bytes(2**20), T0_US)
                count += 1
        full.journal.close()
        return count

    assert asyncio.run(fill()) == WRITE_QUEUE_BYTES_MAX // 2**20


def test_spool_on_a_full_disk_says_so_and_keeps_what_it_was_given(tmp_path: Path) -> None:
    async def through_a_full_disk() -> None:
        full = write_queue(tmp_path, quota_bytes=10_000)
        (tmp_path / "20250101-000000000000001.journal").write_bytes(bytes(10_000))  # it is in the way
        running = asyncio.create_task(full.run())
        full.put(RecordKind.FRAME, b"first", T0_US)
        full.put(RecordKind.FRAME, b"second", T0_US)
        while not full.error:
            await asyncio.sleep(0.01)
        with pytest.raises(JournalError, match="TICKLINE_JOURNAL_QUOTA_BYTES"):
            await full.room()
        full.put(RecordKind.DISCONNECTED, b"{}", T0_US)
        (tmp_path / "20250101-000000000000001.journal").unlink()
        await asyncio.wait_for(full.recovered(), 60)
        full.close()
        await running
        full.journal.close()

    asyncio.run(through_a_full_disk())
    assert payloads_of(tmp_path) == [b"first", b"second", b"{}"]


def test_spool_closed_on_a_full_disk_ends_and_says_how_much_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = write_queue(tmp_path, free_bytes_min=2**60)
    with caplog.at_level(logging.ERROR):
        asyncio.run(asyncio.wait_for(written(full, [b"lost"]), 60))
    assert "received but not journalled records=1" in caplog.text
    assert payloads_of(tmp_path) == []
