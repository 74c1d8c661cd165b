"""Supervisor: the tasks of `start`, who owns what, and how they stop.

    feed task ──put──► spool task ──append──► journal files ──read──► consumer task ──batch──► writer thread
                       (on a thread)           (signal: something arrived)

Tasks start here and nowhere else, in one TaskGroup. A stop closes the feed first, then the
journal, and lets the consumer commit what is left.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingest.backfill import Backfill, Tender
from ingest.config import Settings
from ingest.consumer import Account, Consumer, Limits
from ingest.feed import Feed
from ingest.journal import JournalLock, recover, segments_of
from ingest.journal_keeper import keep
from ingest.journal_reader import JournalReader
from ingest.journal_writer import JournalLimits, JournalWriter
from ingest.patient_writer import Abandoned, PatientWriter
from ingest.planner import Account as VendorAccount
from ingest.planner import plan
from ingest.sources import JournalSource
from ingest.spool import Spool
from ingest.universe_keeper import UniverseKeeper, follow
from ingest.upstox import UpstoxApi
from ingest.writer import LedgerBehindError, Writer, refresh_bars
from sql.errors import FeedError, StoreError, TicklineError

log = logging.getLogger(__name__)

REFRESH_S = 60  # a bar is a minute; fresher ones are computed from the ticks when they are read
KEEP_S = 60  # segments close every few minutes at the busiest
STREAM = "1"  # the one connection of now; each further connection has a stream of its own


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running ingestion shows. A replay has a consumer only."""

    consumer: Consumer
    feed: Feed | None = None
    writer: PatientWriter | None = None
    reader: JournalReader | None = None


def limits_of(settings: Settings) -> Limits:
    """Return the consumer's limits as the settings have them."""
    return Limits(batch_rows_max=settings.batch_rows_max, checkpoint_s=settings.checkpoint_s)


def patient_writer(writer: Writer, settings: Settings) -> PatientWriter:
    """Return the writer with the patience that the settings have."""
    return PatientWriter(writer, first_s=settings.database_backoff_first_s, max_s=settings.database_backoff_max_s)


async def start(
    settings: Settings,
    url: str,
    keys: Sequence[str] | Mapping[str, str],
    *,
    stop: asyncio.Event,
    keeper: UniverseKeeper | None = None,
    show: Callable[[Progress], None] = lambda _: None,
    ready: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Ingest the live feed until told to stop; what has been received by then is committed.

    Parameters
    ----------
    settings, url
        How to behave, and the database.
    keys
        Instrument keys to subscribe in the settings' mode, or keys -> modes.
    stop
        Set it to stop; see `stop_signals`.
    keeper
        Who knows what is wanted from then on; None: the keys stay as they are.
    show
        Called with the progress about once a second.
    ready
        Called once, before the first connection, with the progress to watch.

    Raises
    ------
    ConfigError
        If there is no token. One that the vendor refuses is waited out: a new one may come.
    SubscriptionError
        If the keys do not fit into the connection.
    StoreError
        If the database cannot be written.
    JournalError
        If the journal is in use or cannot be written.
    """
    settings.token()  # say so at once if there is none
    wanted = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, settings.mode)
    _check_room(settings, wanted)
    folder = settings.journal_folder / STREAM
    lock = JournalLock(settings.journal_folder)
    try:
        next_seq = await asyncio.to_thread(recover, folder)
        with await asyncio.to_thread(Writer, url, settings.collector) as writer:
            resume = writer.resume(STREAM)
            # A journal that a power cut shortened, or that was deleted, must not use a seq again.
            journal = _journal(settings, folder, max(next_seq, resume.last_seq + 1))
            patient = patient_writer(writer, settings)
            reader = JournalReader(lambda: segments_of(folder), resume.checkpoint, follow=True)
            consumer = Consumer(JournalSource(reader), patient, STREAM, limits_of(settings))
            consumer.resume(resume)
            async with UpstoxApi(settings) as api:
                spool = Spool(journal, consumer.arrived.set, settings.journal_retry_s)
                feed = Feed(api, settings, spool, wanted)
                progress = Progress(consumer, feed, patient, reader)
                ready(progress)
                await _run(progress, settings=settings, url=url, stop=stop, keeper=keeper, show=show)
                return progress
    finally:
        lock.release()


def _journal(settings: Settings, folder: Path, next_seq: int) -> JournalWriter:
    return JournalWriter(
        folder,
        collector=settings.collector,
        stream=STREAM,
        next_seq=next_seq,
        limits=JournalLimits(
            segment_bytes_max=settings.journal_segment_bytes_max,
            fsync_ms=settings.journal_fsync_ms,
            quota_bytes=settings.journal_quota_bytes,
            free_bytes_min=settings.journal_free_bytes_min,
        ),
    )


async def _run(
    progress: Progress,
    *,
    settings: Settings,
    url: str,
    stop: asyncio.Event,
    keeper: UniverseKeeper | None,
    show: Callable[[Progress], None],
) -> None:
    consumer, feed, reader, patient = progress.consumer, progress.feed, progress.reader, progress.writer
    assert feed is not None and reader is not None and patient is not None
    spool = feed.spool
    try:
        async with asyncio.TaskGroup() as group:
            consuming = group.create_task(_consume(consumer, reader), name="consumer")
            spooling = group.create_task(spool.run(), name="spool")
            receiving = group.create_task(feed.run(), name="feed")
            along = [
                group.create_task(show_along(progress, show), name="progress"),
                group.create_task(_refresh_along(url, consumer.account), name="bars"),
                group.create_task(_keep_along(settings, consumer, feed), name="journal keeper"),
                group.create_task(_backfill_along(settings, url, feed.api, consumer), name="backfill"),
            ]
            if keeper is not None:
                along.append(group.create_task(_follow_along(settings, keeper, feed), name="universe"))
            await stop.wait()
            deadline = asyncio.get_running_loop().time() + settings.stop_s
            log.info("stopping: the feed is closed, what is left is committed")
            receiving.cancel()
            await asyncio.wait([receiving])
            spool.close()
            await asyncio.wait([spooling])
            spool.journal.close()
            reader.stop_following()
            consumer.arrived.set()
            await _finish(consuming, patient, deadline)
            for task in along:
                task.cancel()
        if not patient.failures:
            await refresh(url, consumer.account)
    except BaseExceptionGroup as group_error:
        if not isinstance(error := first_error(group_error), Abandoned):
            raise error from group_error
        log.warning("stopped while the database is away backlog_bytes=%d", reader.backlog_bytes())
    finally:
        spool.journal.close()
        consumer.source.close()


async def _consume(consumer: Consumer, reader: JournalReader) -> None:
    """Run the consumer; from where the ledger ends now, if the database has lost batches that it had committed."""
    while True:
        try:
            await consumer.run()
        except LedgerBehindError as exc:
            log.error("%s", exc)
            resume = await asyncio.to_thread(consumer.writer.resume, consumer.stream)
            reader.seek(resume.checkpoint)
            consumer.resume(resume)
        else:
            return


async def _finish(consuming: asyncio.Task[None], patient: PatientWriter, deadline: float) -> None:
    """Let the consumer commit what is left, but not for longer than a stop may take."""
    await asyncio.wait([consuming], timeout=deadline - asyncio.get_running_loop().time())
    if not consuming.done():
        patient.abandon()
        await asyncio.wait([consuming])


def _check_room(settings: Settings, keys: Mapping[str, str]) -> None:
    """Refuse keys that the one connection has no room for: the vendor would ignore them without a word."""
    plan(keys, VendorAccount.of(plus=settings.plus, connections_max=1))


async def _follow_along(settings: Settings, keeper: UniverseKeeper, feed: Feed) -> None:
    """Subscribe and unsubscribe as the universe changes."""

    def change(keys: dict[str, str]) -> None:
        if keys == feed.keys:
            return
        _check_room(settings, keys)
        came, went = len(keys.keys() - feed.keys.keys()), len(feed.keys.keys() - keys.keys())
        log.info("universe changed keys=%d came=%d went=%d", len(keys), came, went)
        feed.change(keys)

    await follow(keeper, change, lambda: datetime.now(UTC), every_s=settings.universe_follow_s)


async def _keep_along(settings: Settings, consumer: Consumer, feed: Feed) -> None:
    """Compress and delete segments now and then; a failure costs room, never records."""
    stopping = threading.Event()
    folder = settings.journal_folder / STREAM
    try:
        while True:
            await _until_keeping(feed)
            try:
                await asyncio.to_thread(
                    keep,
                    folder,
                    consumer.committed,
                    keep_days=settings.journal_keep_days,
                    quota_bytes=settings.journal_quota_bytes,
                    now=datetime.now(UTC),
                    stopped=stopping.is_set,
                )
            except OSError as exc:
                log.warning("journal not tidied, trying again in_s=%d error=%s", KEEP_S, exc)
    finally:
        stopping.set()


async def _backfill_along(settings: Settings, url: str, api: UpstoxApi, consumer: Consumer) -> None:
    """Repair minutes that were not heard whole, while the feed goes on; a failure costs bars, never ticks."""
    tender = Tender(Backfill(api, url))
    while settings.backfill_s:
        await asyncio.sleep(settings.backfill_s)
        if not consumer.listening.last_ms:
            continue
        try:
            repair = await tender.round(datetime.fromtimestamp(consumer.listening.last_ms / 1000, UTC))
        except (FeedError, StoreError) as exc:
            log.warning("bars not repaired, trying again in_s=%g error=%s", settings.backfill_s, exc)
            continue
        if repair is not None:
            log.info(
                "bars repaired minutes=%d bars=%d gaps=%d requests=%d left_instruments=%d",
                repair.repaired,
                repair.added,
                repair.gaps,
                repair.requests,
                len(repair.left),
            )


async def _until_keeping(feed: Feed) -> None:
    """Wait until it is time to tidy: every minute, and soon while the journal has no room."""
    for _ in range(KEEP_S):
        await asyncio.sleep(1.0)
        if feed.spool.error:
            return


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a user should read: one of ours if there is one."""
    ours = group.subgroup(TicklineError)
    error: BaseException = ours or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def stop_signals(*, for_s: float | None = None) -> Iterator[asyncio.Event]:
    """Turn the first SIGINT or SIGTERM, or the end of `for_s` seconds, into an event.

    A second signal, of either kind, ends the process at once; the journal has all that was received.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    timer = loop.call_later(for_s, stop.set) if for_s is not None else None
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal() -> None:
        stop.set()
        for number in before:
            loop.remove_signal_handler(number)
            # Not Python's KeyboardInterrupt: that would wait for the thread that waits for the database.
            signal.signal(number, signal.SIG_DFL)

    for number in before:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        if timer is not None:
            timer.cancel()
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def refresh(url: str, account: Account) -> None:
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


async def show_along(progress: Progress, show: Callable[[Progress], None]) -> None:
    """Show the progress once a second, until cancelled."""
    while True:
        await asyncio.sleep(1.0)
        show(progress)
