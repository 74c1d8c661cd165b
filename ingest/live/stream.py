"""Stream: one connection, or a pair of connections, with its own journal and consumer.

    feeds ─put──► write queue ──append──► journal/<collector>/<stream>/ ──read──► consumer ──batch──► the one writer

Streams share only the writer and the REST session: a stream that fails, or whose journal is full,
does not disturb the others.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

from ingest.errors import JournalError
from ingest.feed.connection import FeedConnection
from ingest.feed.key_states import KeyState, KeyStates, Patience
from ingest.feed.market_now import MarketNow
from ingest.journal.folder import bytes_of, recover, segment_name, segments_of
from ingest.journal.housekeeping import tidy
from ingest.journal.reader import JournalReader
from ingest.journal.sources import JournalSource
from ingest.journal.write_queue import WriteQueue
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.last_error import LastError
from ingest.model.records import Position, order_of
from ingest.pipeline.consumer import Consumer, limits_of
from ingest.settings import Settings
from ingest.store.batch import Resume
from ingest.store.retrying_writer import RetryingWriter
from ingest.store.writer import LedgerBehindError
from ingest.transport.cursor import Cursor
from ingest.upstox.rest import UpstoxApi

log = logging.getLogger(__name__)

KEEP_S = 60  # segments close every few minutes at most
# Each stream numbers its records from its own start, so that `ticks.seq` is unique in the collector, not only
# in the stream. A year at full load has 10**9 records; the order of bars has room for 10**12.
SEQ_STEP = 10**11
# Without the database the numbers in the ledger are unknown. So this many are skipped after the end of the journal:
# more than a power cut, or the loss of the newest segment, removes from a journal whose records are committed.
LOST_RECORDS_MAX = 10**6
# An empty journal may have been deleted. Its numbers then start from the clock: a year has 3 * 10**9 hundredths of a
# second, three times the records of a year at full load.
APART_MAX = 10**7  # collectors begin as far apart at most
NUMBERED_SINCE_S, NUMBERS_PER_S = 1_767_225_600, 100  # 2026-01-01


@dataclass(frozen=True, slots=True)
class Stream:
    """One connection, or a pair with the same keys; streams are numbered from "1"."""

    name: str
    feeds: tuple[FeedConnection, ...]
    reader: JournalReader
    consumer: Consumer
    settings: Settings
    first_seq: int  # seq of the first record of this process
    cursor: Cursor | None = None  # how far another process has committed it; None: this one does

    @classmethod
    async def open(
        cls,
        name: str,
        settings: Settings,
        writer: RetryingWriter,
        api: UpstoxApi,
        market: MarketNow,
        *,
        cursor: Cursor | None = None,
    ) -> Stream:
        """Open a stream where its journal and the ledger ended; it has no keys yet.

        While the database is away the stream still records; `consume` begins when the ledger can be read.

        Parameters
        ----------
        name
            Name of its journal and of its rows in the ledger.
        settings
            Settings of the ingester.
        writer, api, market
            Shared by all streams.
        cursor
            How far writers elsewhere have committed the journal; None: `writer` commits it.

        Raises
        ------
        JournalError
            If the journal cannot be read.
        """
        folder = settings.journal_folder / name
        next_seq = max(await asyncio.to_thread(recover, folder), (int(name) - 1) * SEQ_STEP + 1)
        resume = await writer.run(writer.resume_now, name)
        # A seq must not be used twice, even if the journal was deleted or cut short by a power failure.
        is_empty = not segments_of(folder)
        first_seq = (
            max(next_seq, resume.last_seq + 1)
            if resume
            else _unused_seq(next_seq, settings.collector, is_empty=is_empty)
        )
        journal = _journal(settings, folder, first_seq)
        reader = JournalReader(journal.segments, follow=True, newest=lambda: journal.segment)
        consumer = Consumer(JournalSource(reader), writer, name, limits_of(settings), on_status=market.hear)
        after_seq = next_seq - 1 if resume is None else None
        write_queue = WriteQueue(journal, consumer.arrived.set, settings.journal_retry_s, after_seq=after_seq)
        patience = Patience(confirm_s=settings.confirm_s, silent_s=settings.key_silent_s)
        standby_run = uuid.uuid4().hex if settings.standby else ""
        feeds = tuple(
            FeedConnection(
                api,
                settings,
                write_queue,
                {},
                feed_name,
                pause_s=market.pause_s,
                time_source=api.time_source,
                socket=socket,
                standby_run=standby_run,
                states=KeyStates(patience),
            )
            for socket, feed_name in enumerate([name, f"{name} standby"] if standby_run else [name])
        )
        stream = cls(name, feeds, reader, consumer, settings, first_seq, cursor)
        if resume is not None:
            stream.take_up(resume)
        return stream

    @property
    def feed(self) -> FeedConnection:
        """The first connection; both connections of a pair have the same keys and journal."""
        return self.feeds[0]

    @property
    def key_states(self) -> dict[str, KeyState]:
        """State of each wanted key that was requested; the better state if two connections carry it."""
        found: dict[str, KeyState] = {}
        for state in (KeyState.FAILED, KeyState.REQUESTED, KeyState.SILENT, KeyState.CONFIRMED):
            for feed in self.feeds:
                found |= dict.fromkeys(feed.states.in_state(state), state)
        return {key: state for key, state in found.items() if key in self.feed.keys}

    def key_state(self, key: str) -> KeyState | None:
        """State of one wanted key as in `key_states`, without a walk over the others; None: it was not requested."""
        states = {feed.states.of(key) for feed in self.feeds}
        order = (KeyState.CONFIRMED, KeyState.SILENT, KeyState.REQUESTED, KeyState.FAILED)
        return next((state for state in order if state in states), None)

    @property
    def journal_error(self) -> str:
        """Why the journal cannot be written or read now; "" if it can."""
        return self.feed.write_queue.error or self.reader.error

    def change(self, keys: Mapping[str, str]) -> None:
        """Replace the wanted keys and modes on each connection."""
        for feed in self.feeds:
            feed.change(keys)

    async def consume(self) -> None:
        """Run the consumer as soon as the ledger can be read.

        If the database has lost committed batches, continue from the new end of the ledger.
        """
        writer = self.consumer.writer
        if not self.consumer.knows_ledger:
            self.take_up(await writer.run(writer.resume, self.name, unused_seq=self.first_seq))
        while True:
            try:
                await self.consumer.run()
            except LedgerBehindError as exc:
                log.error("%s", exc)
                self.take_up(await writer.run(writer.resume, self.name))
            else:
                return

    def take_up(self, resume: Resume) -> None:
        """Continue the consumer from the end of the ledger."""
        self.reader.seek(resume.checkpoint)
        self.consumer.resume(resume)

    @property
    def unwritten_records(self) -> int:
        """Number of records of this process that are not consumed because the ledger is still unknown."""
        return 0 if self.consumer.knows_ledger else self.feed.write_queue.journal.records

    def finish(self) -> None:
        """Close the journal; the consumer ends when it has taken all its records."""
        try:
            self.feed.write_queue.journal.close()
        except JournalError as exc:  # the kernel has the bytes: all that can be read is still committed
            log.error("journal not closed cleanly stream=%s error=%s", self.name, exc)
        self.reader.stop_following()
        self.consumer.arrived.set()

    def committed(self) -> Position | None:
        """Return where the ledger ends, as far as it is known here; segments before it may be deleted."""
        return self.consumer.committed if self.cursor is None else self.cursor.committed(self.name)

    def waiting_bytes(self) -> int:
        """Return how many bytes of the journal's files are not read yet, or not committed by writers elsewhere."""
        if self.cursor is None:
            return self.reader.backlog_bytes()
        committed = self.committed()
        paths = self.feed.write_queue.journal.segments()
        if committed is None:
            return bytes_of(paths)
        ahead = [path for path in paths if order_of(segment_name(path)) >= order_of(committed.segment)]
        is_within = bool(ahead) and segment_name(ahead[0]) == committed.segment
        return max(bytes_of(ahead) - min(committed.offset, bytes_of(ahead[:1])) * is_within, 0)

    def left_bytes(self) -> int:
        """Return how many bytes of the journal are not committed; call it after the consumer has ended.

        If the ledger was never read, this is all that this process has recorded.
        """
        if not self.consumer.knows_ledger:
            return self.feed.write_queue.journal.bytes
        self.reader.seek(self.consumer.committed)
        return self.reader.backlog_bytes()

    def close(self) -> None:
        """Close the files."""
        self.feed.write_queue.journal.close()
        self.consumer.source.close()

    async def keep(self, error: LastError) -> None:
        """Compress and delete segments regularly; a failure costs disk space, never records."""
        stopping = threading.Event()
        try:
            while True:
                await self._until_keeping()
                try:
                    await asyncio.to_thread(
                        tidy,
                        self.settings.journal_folder / self.name,
                        self.committed(),
                        keep_days=self.settings.journal_keep_days,
                        quota_bytes=self.settings.journal_quota_bytes,
                        now=datetime.now(UTC),
                        held=self.feed.write_queue.journal.segment,
                        stopped=stopping.is_set,
                    )
                except OSError as exc:
                    log.warning("journal not tidied, trying again in_s=%d error=%s", KEEP_S, exc)
                    error.happened(exc)
                else:
                    error.over()
        finally:
            stopping.set()

    async def _until_keeping(self) -> None:
        """Wait until it is time to tidy: once a minute, or after a second while the journal cannot be written."""
        for _ in range(KEEP_S):
            await asyncio.sleep(1.0)
            if self.feed.write_queue.error:
                return


def _unused_seq(next_seq: int, collector: str, *, is_empty: bool) -> int:
    """Return a seq for the next record that the ledger cannot contain, judged by the journal's files.

    Collectors whose first starts were at the same moment begin with other numbers, by their names: a tick does not say
    whose it is, and two frames with the same seq and receive time could not be told apart.
    """
    if not is_empty:
        return next_seq + LOST_RECORDS_MAX
    numbers = int((time.time() - NUMBERED_SINCE_S) * NUMBERS_PER_S) + crc32(collector.encode()) % APART_MAX
    return next_seq + max(numbers, LOST_RECORDS_MAX)


def _journal(settings: Settings, folder: Path, next_seq: int) -> JournalWriter:
    return JournalWriter(
        folder,
        collector=settings.collector,
        stream=folder.name,
        next_seq=next_seq,
        limits=JournalLimits(
            segment_bytes_max=settings.journal_segment_bytes_max,
            fsync_ms=settings.journal_fsync_ms,
            quota_bytes=settings.journal_quota_bytes,
            free_bytes_min=settings.journal_free_bytes_min,
        ),
    )
