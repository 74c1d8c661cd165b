"""A collector has one writer: files of a replay share it, and one that is ending is waited for."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.errors import StoreError
from ingest.journal.recording import read_recording, write_recording
from ingest.pipeline import replay as replaying
from ingest.settings import Settings
from ingest.store.writer import Writer
from tests.data import data_file
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S


def connected(database: Database) -> Writer:
    writer = Writer(database.url, "recording")
    writer.reconnect()
    return writer


@on_one_engine
def test_writer_waits_for_a_lock_whose_holder_is_ending(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.store.writer.LOCK_SECONDS_MAX", WITHIN_S)
    holder = connected(database)
    ending = threading.Timer(0.2, holder.close)
    ending.start()
    with closing(connected(database)):
        ending.join()


@on_one_engine
def test_writer_does_not_wait_for_a_lock_whose_holder_lives(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.store.writer.LOCK_SECONDS_MAX", 0.1)
    with (
        closing(connected(database)),
        pytest.raises(
            StoreError, match=r"'recording' is already writing .*\(server process \d+ since .* IST\): stop it"
        ),
    ):
        connected(database)


@on_one_engine
def test_files_of_a_replay_share_one_connection(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Writer] = []

    class Counted(Writer):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            made.append(self)

    monkeypatch.setattr(replaying, "Writer", Counted)
    frames = read_recording(data_file("session-20251215-open.frames.gz"))
    paths = [tmp_path / f"{number}.frames.gz" for number in range(5)]
    for path in paths:
        write_recording(path, ((frame.received_ms, frame.payload) for frame in islice(frames, 3)))
    done: list[str] = []
    asyncio.run(replaying.replay(Settings(), database.url, paths, done=lambda consumer: done.append(consumer.stream)))
    assert len(made) == 1
    assert len(set(done)) == len(paths)
    with database.connect() as connection:
        counted = connection.execute("select count(distinct segment), sum(frames) from tickline.ledger").fetchone()
    assert counted == (5, 15)
