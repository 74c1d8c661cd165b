"""Ctrl-C in a replay: what was read is committed and said, and the next run goes on there."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.pipeline.consumer import StreamCounts
from ingest.pipeline.replay import Stopped, replay
from ingest.settings import settings
from ingest.store.writer import Writer
from tests.data import REPOSITORY, data_file
from tests.engines import on_one_engine
from tests.fault.proxy import Proxy


def ticks(database: Database) -> int:
    with database.connect() as connection:
        return connection.execute("select count(*) from ticks").fetchone()[0]  # type: ignore[index]


def run(
    database: Database, *paths: Path, batches: int | None = None, url: str = "", **given: Any
) -> list[StreamCounts]:
    """Replay, and stop after so many commits; return what was said of each stream."""
    said: list[StreamCounts] = []
    write, commits = Writer.write, 0

    async def push(monkeypatch: pytest.MonkeyPatch) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def counted(self: Writer, batch: Any, stream: str) -> None:
            nonlocal commits
            write(self, batch, stream)
            commits += 1
            if commits == batches:
                loop.call_soon_threadsafe(stop.set)

        monkeypatch.setattr(Writer, "write", counted)
        config = settings(batch_rows_max=1_000, **given)
        done = lambda consumer: said.append(consumer.counts)  # noqa: E731
        await replay(config, url or database.url, paths, done=done, stop=stop)

    with pytest.MonkeyPatch.context() as monkeypatch:
        try:
            asyncio.run(push(monkeypatch))
        except Stopped as exc:
            assert re.fullmatch(r"stopped (in '.*'|while the database is away): run it again to continue .*", str(exc))
            assert batches is not None
    return said


@on_one_engine
def test_stop_commits_what_was_read_and_the_next_run_goes_on_there(
    database: Database, short_session: Path, tmp_path: Path
) -> None:
    (first,) = run(database, short_session, batches=3)
    assert first.ticks == ticks(database) > 0
    (second,) = run(database, short_session, batches=2)
    assert second.frames_before == first.frames and first.ticks + second.ticks == ticks(database)
    (third,) = run(database, short_session)
    assert third.frames + third.frames_before == 6_000
    assert first.ticks + second.ticks + third.ticks == ticks(database)


@on_one_engine
def test_stop_while_the_database_is_away_ends_within_its_time(
    database: Database, short_session: Path, home: Path
) -> None:
    with Proxy(database.url, home / "p") as proxy:
        write = Writer.write

        def cut(self: Writer, batch: Any, stream: str) -> None:
            write(self, batch, stream)
            proxy.pause()

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(Writer, "write", cut)
            (said,) = run(database, short_session, batches=1, url=proxy.url, stop_s=0.3)
    assert ticks(database) >= said.ticks > 0
    (again,) = run(database, short_session)
    assert again.frames + again.frames_before == 6_000


@on_one_engine
def test_ctrl_c_says_what_is_in_the_table(database: Database) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ingest.cli", "replay", str(data_file("session-20251215-open.frames.gz"))],
        env={"PATH": "", "TICKLINE_DATABASE_URL": database.url, "TICKLINE_BATCH_ROWS_MAX": "500"},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    begun = threading.Event()
    while not begun.is_set() and process.poll() is None:
        if ticks(database):
            begun.set()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 1
    told = re.search(r": ([\d,]+) frames, ([\d,]+) ticks written", out)
    assert told is not None and int(told[2].replace(",", "")) == ticks(database) < 209_928
    assert err.splitlines()[-1].endswith(": run it again to continue after the last commit")
