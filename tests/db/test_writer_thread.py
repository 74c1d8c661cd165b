"""The writer has a thread of its own: nothing else holds it up, and it holds up nothing else."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from ingest.database.connections import Database
from ingest.journal.recording import read_recording, write_recording
from ingest.journal.sources import RecordingSource
from ingest.model.records import Position
from ingest.pipeline.consumer import Consumer
from ingest.store.retrying_writer import Abandoned
from ingest.store.writer import Writer
from tests.data import data_file
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, quick_writer
from tests.fault.live import until
from tests.fault.proxy import Proxy

SEGMENT = "20261129-000000000000001"
WAITS_FOR_A_LOCK = """
    select 1 from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and application_name = 'tickline default'
"""


@on_one_engine
def test_threads_that_all_wait_do_not_hold_up_the_commits_of_a_consumer(database: Database, tmp_path: Path) -> None:
    """As when questions to a database that hangs had taken them."""
    path, held = tmp_path / "few.frames.gz", threading.Event()
    frames = read_recording(data_file("session-20251215-open.frames.gz"))
    write_recording(path, ((frame.received_ms, frame.payload) for frame in islice(frames, 20)))

    async def main() -> int:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        waiting = loop.run_in_executor(None, held.wait)
        try:
            with quick_writer(Writer(database.url, "default")) as writer:
                assert await writer.run(writer.meet, WITHIN_S)
                consumer = Consumer(RecordingSource(path), writer, "1")
                consumer.resume(await writer.run(writer.resume, "1"))
                async with asyncio.timeout(WITHIN_S):
                    await consumer.run()
            return consumer.counts.frames
        finally:
            held.set()
            await waiting

    assert asyncio.run(main()) == 20
    with database.connect() as connection:
        assert connection.execute("select sum(frames) from tickline.ledger").fetchone() == (20,)


@on_one_engine
def test_cancelled_wait_leaves_the_connection_whole_and_what_was_begun_is_done_before_the_next(
    database: Database,
) -> None:
    async def main() -> None:
        with (
            database.connect() as holder,
            database.connect(autocommit=True) as looker,
            quick_writer(Writer(database.url, "default")) as writer,
        ):
            assert await writer.run(writer.meet, WITHIN_S)
            holder.execute("lock table tickline.checkpoints in access exclusive mode")
            begun = asyncio.create_task(writer.run(writer.checkpoint, "1", Position(SEGMENT, 100), b"begun"))
            await until(lambda: looker.execute(WAITS_FOR_A_LOCK).fetchone())
            left_out = asyncio.create_task(writer.run(writer.checkpoint, "2", Position(SEGMENT, 100), b"left out"))
            following = asyncio.create_task(writer.run(writer.checkpoint, "3", Position(SEGMENT, 100), b"following"))
            await asyncio.sleep(0)
            for task in (begun, left_out):
                task.cancel()
            await asyncio.wait({begun, left_out})
            assert not following.done()
            holder.rollback()
            await following
            found = [await writer.run(writer.resume, stream) for stream in "123"]
            assert [one.state for one in found] == [b"begun", b"", b"following"]
            assert not writer.failures and writer.error.text == ""

    asyncio.run(main())


@on_one_engine
@pytest.mark.parametrize("connecting", [False, True], ids=["in_a_statement", "while_connecting"])
def test_server_that_hangs_does_not_hold_up_a_stop(database: Database, tmp_path: Path, connecting: bool) -> None:
    begun = threading.Event()

    class Told(Writer):
        def checkpoint(self, stream: str, position: Position, state: bytes) -> None:
            begun.set()
            super().checkpoint(stream, position, state)

    async def main(proxy: Proxy) -> threading.Thread:
        with quick_writer(Told(proxy.url, "default")) as writer:
            assert await writer.run(writer.meet, WITHIN_S)
            thread = await writer.run(threading.current_thread)
            proxy.pause()
            if connecting:
                proxy.cut()
            asked = [
                asyncio.create_task(writer.run(writer.checkpoint, stream, Position(SEGMENT, 100), b""))
                for stream in ("1", "2")
            ]
            await until(lambda: writer.failures if connecting else begun.is_set())
            assert not any(task.done() for task in asked)
            writer.abandon()
            async with asyncio.timeout(WITHIN_S):
                found = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(error) for error in found] == [Abandoned, Abandoned]
        return thread

    with Proxy(database.url, tmp_path / "p") as proxy:
        thread = asyncio.run(main(proxy))
        thread.join(WITHIN_S)
        assert not thread.is_alive()
