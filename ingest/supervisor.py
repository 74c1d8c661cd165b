"""Supervisor: the tasks of `start` and `replay`, who owns what, and how they stop.

    feed task ──append──► journal files ──read──► consumer task ──batch──► writer thread
                                    (signal: something arrived)

Tasks start here and nowhere else, in one TaskGroup. A stop closes the feed first, then the
journal, and lets the consumer commit what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.config import Settings
from ingest.consumer import Account, Consumer, Limits
from ingest.feed import Feed
from ingest.journal import JournalLock, JournalReader, JournalWriter, recover, segments_of
from ingest.sources import JournalSource, RecordingSource, Source, is_segment, read_segment_header
from ingest.upstox import UpstoxApi
from ingest.writer import Writer, refresh_bars
from sql.errors import StoreError, TicklineError

log = logging.getLogger(__name__)

REFRESH_S = 60  # a bar is a minute; fresher ones are computed from the ticks when they are read
STREAM = "1"  # the one connection of now; each further connection has a stream of its own


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running ingestion shows: the feed is None in a replay."""

    consumer: Consumer
    feed: Feed | None


def limits_of(settings: Settings) -> Limits:
    """Return the consumer's limits as the settings have them."""
    return Limits(batch_rows_max=settings.batch_rows_max, checkpoint_s=settings.checkpoint_s)


async def start(
    settings: Settings,
    url: str,
    keys: Sequence[str],
    *,
    for_s: float | None = None,
    show: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Ingest the live feed until a signal, or for some seconds.

    Parameters
    ----------
    settings, url
        How to behave, and the database.
    keys
        Instrument keys to subscribe.
    for_s
        Stop after so many seconds; None: until SIGINT or SIGTERM.
    show
        Called with the progress about once a second.

    Raises
    ------
    AuthorizationError
        If the vendor refuses the token.
    StoreError
        If the database cannot be written.
    JournalError
        If the journal is in use or cannot be written.
    """
    settings.token()  # say so at once if there is none
    folder = settings.journal_folder / STREAM
    lock = JournalLock(settings.journal_folder)
    try:
        next_seq = await asyncio.to_thread(recover, folder)
        with await asyncio.to_thread(Writer, url, settings.collector) as writer:
            journal = JournalWriter(
                folder,
                collector=settings.collector,
                stream=STREAM,
                next_seq=next_seq,
                segment_bytes_max=settings.journal_segment_bytes_max,
                fsync_ms=settings.journal_fsync_ms,
            )
            consumer = await asyncio.to_thread(_journal_consumer, writer, folder, settings)
            async with UpstoxApi(settings) as api, _stop_signals() as stop:
                feed = Feed(api, settings, journal, keys, consumer.arrived.set)
                progress = Progress(consumer, feed)
                await _run(progress, url, journal, stop, for_s=for_s, show=show)
                await _refresh(url, consumer.account)
                return progress
    finally:
        lock.release()


async def _run(
    progress: Progress,
    url: str,
    journal: JournalWriter,
    stop: asyncio.Event,
    *,
    for_s: float | None,
    show: Callable[[Progress], None],
) -> None:
    consumer, feed = progress.consumer, progress.feed
    assert feed is not None
    assert isinstance(consumer.source, JournalSource)
    try:
        async with asyncio.TaskGroup() as group:
            consuming = group.create_task(consumer.run(), name="consumer")
            receiving = group.create_task(feed.run(), name="feed")
            along = [
                group.create_task(_show_along(progress, show), name="progress"),
                group.create_task(_refresh_along(url, consumer.account), name="bars"),
            ]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(for_s):
                    await stop.wait()
            log.info("stopping: the feed is closed, what is left is committed")
            receiving.cancel()
            await asyncio.wait([receiving])
            journal.close()
            consumer.source.reader.stop_following()
            consumer.arrived.set()
            await consuming
            for task in along:
                task.cancel()
    except BaseExceptionGroup as group_error:
        raise first_error(group_error) from group_error
    finally:
        journal.close()
        consumer.source.close()


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a user should read: one of ours if there is one."""
    ours = group.subgroup(TicklineError)
    error: BaseException = ours or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _journal_consumer(writer: Writer, folder: Path, settings: Settings) -> Consumer:
    """A consumer that follows the stream in a folder from where the ledger ends."""
    resume = writer.resume(STREAM)
    reader = JournalReader(lambda: segments_of(folder), resume.checkpoint, follow=True)
    consumer = Consumer(JournalSource(reader), writer, STREAM, limits_of(settings))
    consumer.resume(resume)
    return consumer


@asynccontextmanager
async def _stop_signals() -> AsyncIterator[asyncio.Event]:
    """Turn the first SIGINT or SIGTERM into an event; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)  # the next one has its default effect

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _refresh(url: str, account: Account) -> None:
    """Bring the bars up to what has been committed."""
    if fresh := account.take_fresh_range():
        await asyncio.to_thread(refresh_bars, url, *fresh)


async def _refresh_along(url: str, account: Account) -> None:
    """Keep the bars up to date while ticks arrive; a failure costs freshness, never ticks."""
    while True:
        await asyncio.sleep(REFRESH_S)
        if not (fresh := account.take_fresh_range()):
            continue
        try:
            await asyncio.to_thread(refresh_bars, url, *fresh)
        except StoreError as exc:
            log.warning("bars not refreshed, trying again in_s=%d error=%s", REFRESH_S, exc)
            account.give_back_range(*fresh)


async def _show_along(progress: Progress, show: Callable[[Progress], None]) -> None:
    while True:
        await asyncio.sleep(1.0)
        show(progress)


async def replay(
    settings: Settings,
    url: str,
    paths: Sequence[Path],
    *,
    collector: str | None = None,
    show: Callable[[Progress], None] = lambda _: None,
) -> list[Consumer]:
    """Push recordings and journal segments through the path of live ingestion.

    What the ledger already has is not written again. Segments go under the collector and stream
    that their header names, recordings under `collector` (default: `recording`).

    Raises
    ------
    CorruptionError
        If a recording is cut short, after all that is good in it has been committed.
    """
    consumers = []
    for name, stream, source in _replay_sources(paths, collector or "recording"):
        with await asyncio.to_thread(Writer, url, name) as writer:
            resume = writer.resume(stream)
            if isinstance(source, RecordingSource) and resume.committed:
                source.expect(resume.committed.offset, resume.digest)
            consumer = Consumer(source, writer, stream, limits_of(settings))
            consumer.resume(resume.from_start())
            consumers.append(consumer)
            try:
                await _show_while(consumer, show)
            finally:
                source.close()
                await _refresh(url, consumer.account)
        if isinstance(source, RecordingSource) and source.error:
            raise source.error
    return consumers


async def _show_while(consumer: Consumer, show: Callable[[Progress], None]) -> None:
    progress = Progress(consumer, None)
    try:
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(_show_along(progress, show))
            await consumer.run()
            showing.cancel()
    except BaseExceptionGroup as group_error:
        raise first_error(group_error) from group_error
    show(progress)


def _replay_sources(paths: Sequence[Path], collector: str) -> list[tuple[str, str, Source]]:
    """Return collector, stream and source: one for each recording, one for each stream of segments."""
    sources: list[tuple[str, str, Source]] = []
    streams: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        if is_segment(path):
            streams.setdefault(read_segment_header(path), []).append(path)
        else:
            recording = RecordingSource(path)
            sources.append((collector, recording.segment, recording))
    for (name, stream), segments in streams.items():
        ordered = sorted(segments)
        sources.append((name, stream, JournalSource(JournalReader(lambda found=ordered: found, follow=False))))
    return sources
