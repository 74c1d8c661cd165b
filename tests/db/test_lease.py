"""A lease: who dies or falls silent loses it, and can no longer write; who lives keeps it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ingest.database.connections import Database
from ingest.live.distributed import leased_writer
from ingest.live.distributed.leased_writer import LeasedWriter, LeaseLostError
from ingest.model.records import Position
from ingest.pipeline.consumer import Consumer
from ingest.settings import Settings
from ingest.store import lease
from ingest.store.batch import Batch
from ingest.store.lease import DatabaseLease
from ingest.store.writer import CollectorInUseError, Writer
from ingest.transport.folder_collector import FolderCollector
from ingest.transport.remote_source import RemoteSource
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, rows, wait_until
from tests.fault.proxy import Proxy
from tests.unit.journal.journals import fill

HELD = """
    select pid from pg_locks
    where locktype = 'advisory' and classid = {} and granted
        and database = (select oid from pg_database where datname = current_database())
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SILENT_S": 0.3, "LOOK_S": 0.05, "BEAT_S": 0.1, "POLL_S": 0.02}.items():
        monkeypatch.setattr(lease, name, value)
    monkeypatch.setattr(leased_writer, "HELD_S_MAX", WITHIN_S)


def leased(database: Database) -> LeasedWriter:
    return LeasedWriter(Settings(), database.url, "default")


@on_one_engine
def test_holder_that_lives_keeps_its_lease_and_one_that_ends_gives_it_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENT_S", WITHIN_S)  # a thread of a busy machine may be late with its heartbeat
    holder, waiting = leased(database), leased(database)
    holder.take()
    spoken = f"select state_change from pg_stat_activity where pid in ({HELD.format(lease.COLLECTOR.number)})"
    for _ in range(2):
        before = rows(database, spoken)
        wait_until(lambda before=before: rows(database, spoken) > before)
    with monkeypatch.context() as patch:
        patch.setattr(leased_writer, "HELD_S_MAX", 0.2)
        with pytest.raises(CollectorInUseError, match="already writing to this database"):
            leased(database).take()
    assert not holder.is_lost
    ending = threading.Timer(0.1, holder.close)
    ending.start()
    waiting.take()
    ending.join()
    waiting.close()


@on_one_engine
def test_holder_that_is_silent_loses_its_lease_and_cannot_write_any_more(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The zombie has a batch in hand, of records that the other commits meanwhile."""
    fill(tmp_path / "default" / "1", 50)
    monkeypatch.setattr("ingest.live.distributed.leased_writer.Heartbeat", Silent)
    zombie, other = leased(database), leased(database)
    zombie.take()
    has_batch, may_go_on, write = threading.Event(), threading.Event(), zombie.write

    def frozen(batch: Batch, stream: str) -> None:
        has_batch.set()
        may_go_on.wait()
        write(batch, stream)

    monkeypatch.setattr(zombie, "write", frozen)

    async def both() -> None:
        of_zombie = asyncio.create_task(written(zombie, tmp_path))
        await asyncio.to_thread(has_batch.wait)
        await asyncio.to_thread(other.take)
        await written(other, tmp_path)
        may_go_on.set()
        with pytest.raises(LeaseLostError, match="is no longer written here"):
            await of_zombie

    asyncio.run(both())
    ledger = rows(database, "select offset_start, offset_end, frames from tickline.ledger order by batch_id")
    assert sum(frames for _, _, frames in ledger) == 50
    with pytest.raises(LeaseLostError, match="lease of collector 'default' is lost"):
        zombie.checkpoint("1", Position("20251215-000000000000001", 1), b"")
    zombie.close()
    other.close()


@on_one_engine
def test_lock_of_a_process_that_promised_nothing_is_never_taken(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENT_S", 0.1)
    monkeypatch.setattr(leased_writer, "HELD_S_MAX", 0.4)  # much longer than it may be silent
    with closing(Writer(database.url, "default")) as start:
        start.reconnect()
        with pytest.raises(CollectorInUseError):
            leased(database).take()
        start.ledger.resume("1")  # its connection lives


@on_one_engine
def test_work_that_is_done_once_moves_to_another_process_when_its_holder_is_silent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = DatabaseLease(database.url, "once"), DatabaseLease(database.url, "once")
    beats: list[Callable[[], None]] = []
    monkeypatch.setattr(lease, "Heartbeat", lambda beat: beats.append(beat) or Silent(beat))
    assert first.take(0.0)
    assert not second.take(0.0)
    assert second.take(WITHIN_S)
    (of_first, of_second) = beats
    of_first()
    of_second()
    assert (first.is_lost, second.is_lost) == (True, False)
    first.close()
    second.close()
    third = DatabaseLease(database.url, "once")
    wait_until(lambda: third.take(0.0))
    third.close()


@on_one_engine
def test_lease_is_closed_though_its_server_hangs_and_also_while_it_is_taken(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(database.url, tmp_path / "p") as proxy:
        held, begun = DatabaseLease(proxy.url, "once"), list[float]()
        beat = held._beat

        def noted() -> None:
            begun.append(time.monotonic())
            beat()

        monkeypatch.setattr(held, "_beat", noted)
        assert held.take(WITHIN_S)
        proxy.pause()
        paused_s = time.monotonic()
        wait_until(lambda: begun and begun[-1] > paused_s and held._lock.locked())  # it waits for the answer
        held.close()
        wait_until(lambda: held.is_lost)
    taking = DatabaseLease(database.url, "once")
    taking.close()
    wait_until(lambda: not rows(database, HELD.format(lease.ONCE.number)))
    assert not taking.take(0.0)
    wait_until(lambda: not rows(database, HELD.format(lease.ONCE.number)))


class Silent:
    """A heart that does not beat."""

    def __init__(self, beat: Callable[[], None]) -> None:
        pass

    def close(self) -> None:
        pass


async def written(writer: LeasedWriter, home: Path) -> None:
    """Write all that the folder has."""
    source = RemoteSource("default", "1", FolderCollector(home / "default"), lambda: None)
    consumer = Consumer(source, writer, "1")
    resume = await writer.run(writer.resume, "1")
    source.seek(resume.checkpoint)
    consumer.resume(resume)
    fetching = asyncio.create_task(source.run())
    consuming = asyncio.create_task(consumer.run())
    async with asyncio.timeout(WITHIN_S):
        while consumer.counts.frames < 50 and not consuming.done():
            await asyncio.sleep(0.01)
    fetching.cancel()
    source.stop()
    try:
        await consuming
    finally:
        await consumer.leave()
