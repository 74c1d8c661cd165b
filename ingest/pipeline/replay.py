"""Replay: send recordings and journal segments through the live path, then end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ingest.database.pool import Pool
from ingest.errors import TicklineError, first_error
from ingest.journal.reader import JournalReader
from ingest.journal.sources import (
    EndingSource,
    JournalSource,
    RecordingSource,
    Source,
    is_segment,
    name_in_header,
    read_segment_header,
)
from ingest.model.records import order_of
from ingest.pipeline.consumer import Consumer, limits_of
from ingest.pipeline.progress import show_along
from ingest.settings import Settings
from ingest.store.bar_refresh import refresh_touched
from ingest.store.retrying_writer import Abandoned, RetryingWriter, retrying_writer
from ingest.store.side_limits import side_limits
from ingest.store.writer import Writer


async def replay(
    settings: Settings,
    url: str,
    paths: Sequence[Path],
    *,
    collector: str = "recording",
    show: Callable[[Consumer, int, int], None] = lambda *_: None,
    done: Callable[[Consumer], None] = lambda _: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Write the records of recordings and journal segments that are not in the ledger yet.

    All files of a collector go through one connection.

    Parameters
    ----------
    settings, url
        Settings, and URL of the database.
    paths
        Recordings (`.frames.gz`) and segments, in any order.
    collector
        Ledger name of recordings; segments use the collector and stream in their header.
    show, done
        `show` is called about once a second, with the bytes read and those of all files; `done` when a stream has
        ended or failed.
    stop
        Set it to end early: records that were read are committed within `stop_s`.

    Raises
    ------
    CorruptionError
        If a recording is cut short; its readable part is committed first.
    JournalError
        If a file cannot be read, or differs from the file that was replayed before under this name.
    StoreError
        If the database cannot be written.
    Stopped
        If the replay ended early and records are left.
    """
    stop = stop or asyncio.Event()
    streams = _sources(paths, collector)
    total = sum(one.source.left_bytes() for one in streams)

    def show_all(consumer: Consumer) -> None:
        show(consumer, total - sum(one.source.left_bytes() for one in streams), total)

    for name, sources in groupby(streams, key=lambda one: one.collector):
        with retrying_writer(Writer(url, name, side_limits=side_limits(settings)), settings) as writer:
            await writer.run(writer.writer.reconnect)
            for one in sources:
                try:
                    consumer, is_away = await _consumer(one, writer, settings, stop), False
                    try:
                        async with _stopping(writer, stop, settings.stop_s):
                            await _show_while(consumer, show_all)
                    except Stopped:
                        is_away = True
                        raise
                    finally:
                        done(consumer)
                        if not is_away:
                            await _refresh(url, name)
                finally:
                    one.source.close()
                if isinstance(one.source, RecordingSource) and one.source.error:
                    raise one.source.error
                if stop.is_set() and not (one.source.finished and one is streams[-1]):
                    raise Stopped(f"stopped in {one.stream!r}: run it again to continue after the last commit")


async def _refresh(url: str, collector: str) -> None:
    async with Pool(url) as pool:
        await refresh_touched(pool, ended=collector)


class Stopped(TicklineError):
    """The user ended the replay early."""


class _Stream(NamedTuple):
    """A source that is replayed under one stream name of the ledger."""

    collector: str
    stream: str
    source: Source


async def _consumer(one: _Stream, writer: RetryingWriter, settings: Settings, stop: asyncio.Event) -> Consumer:
    """Return the consumer of a stream, positioned where its ledger ends."""
    resume = await writer.run(writer.writer.ledger.resume, one.stream)
    if isinstance(one.source, RecordingSource):
        one.source.expect(await writer.run(writer.writer.ledger.digests, one.stream))
    consumer = Consumer(EndingSource(one.source, stop.is_set), writer, one.stream, limits_of(settings))
    consumer.resume(resume.from_start())
    return consumer


@asynccontextmanager
async def _stopping(writer: RetryingWriter, stop: asyncio.Event, stop_s: float) -> AsyncIterator[None]:
    """Stop waiting for a database that is away, `stop_s` seconds after a stop."""

    async def give_up() -> None:
        await stop.wait()
        await asyncio.sleep(stop_s)
        writer.abandon()

    giving_up = asyncio.create_task(give_up(), name="replay stop")
    try:
        yield
    except Abandoned as exc:
        raise Stopped("stopped while the database is away: run it again to continue after the last commit") from exc
    finally:
        giving_up.cancel()


async def _show_while(consumer: Consumer, show: Callable[[Consumer], None]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(show_along(consumer, show))
            await consumer.run()
            showing.cancel()
    except BaseExceptionGroup as group_error:
        raise first_error(group_error) from group_error
    show(consumer)


def _sources(paths: Sequence[Path], collector: str) -> list[_Stream]:
    """Return the sources, grouped by collector: one for each recording and each stream of segments."""
    sources: list[_Stream] = []
    streams: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        if is_segment(path):
            streams.setdefault(read_segment_header(path), []).append(path)
        else:
            recording = RecordingSource(path)
            sources.append(_Stream(collector, recording.segment, recording))
    for (name, stream), segments in sorted(streams.items()):
        ordered = sorted(segments, key=lambda path: order_of(name_in_header(path)))
        reader = JournalReader(_listing(ordered), follow=False, name_of=cache(name_in_header))
        sources.append(_Stream(name, stream, JournalSource(reader)))
    return sources


def _listing(paths: list[Path]) -> Callable[[], list[Path]]:
    return lambda: paths
