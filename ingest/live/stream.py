"""Stream: one connection with all that is its own, from the socket to the consumer; or two that stand by each other.

    feeds ─put──► write queue ──append──► journal/<collector>/<stream>/ ──read──► consumer ──batch──► the one writer

Streams share the writer and the REST session, nothing else: one that dies, or whose journal is full,
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

from ingest.errors import JournalError, StoreError
from ingest.feed.connection import FeedConnection
from ingest.feed.key_states import KeyState, KeyStates, Patience
from ingest.feed.market_now import MarketNow
from ingest.journal.folder import recover, segments_of
from ingest.journal.housekeeping import tidy
from ingest.journal.reader import JournalReader
from ingest.journal.sources import JournalSource
from ingest.journal.write_queue import WriteQueue
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.last_error import LastError
from ingest.pipeline.consumer import Consumer, limits_of
from ingest.settings import Settings
from ingest.store.batch import Resume
from ingest.store.retrying_writer import RetryingWriter
from ingest.store.writer import LedgerBehindError
from ingest.upstox.rest import UpstoxApi

log = logging.getLogger(__name__)

KEEP_S = 60  # segments close every few minutes at the busiest
# Each stream counts its records from a number of its own, so that `ticks.seq` is the collector's and not
# the stream's only. A year at full load is 10**9 records; the order of bars has room for 10**12.
SEQ_STEP = 10**11
# Without the database nobody knows which numbers the ledger has. Behind the journal's end so many are left out: more
# than a power cut, or the loss of the newest segment, takes from a journal whose records are committed.
LOST_RECORDS_MAX = 10**6
# Where the journal is empty it may have been deleted. Its numbers then begin with the clock: a year has 3 * 10**9
# hundredths of a second, three times the records of a year at full load.
NUMBERED_SINCE_S, NUMBERS_PER_S = 1_767_225_600, 100  # 2026-01-01


@dataclass(frozen=True, slots=True)
class Stream:
    """One connection, or a pair of them with the same keys; streams are numbered from "1"."""

    name: str
    feeds: tuple[FeedConnection, ...]
    reader: JournalReader
    consumer: Consumer
    settings: Settings
    first_seq: int  # of what this process records

    @classmethod
    async def open(
        cls, name: str, settings: Settings, writer: RetryingWriter, api: UpstoxApi, market: MarketNow
    ) -> Stream:
        """Open a stream where its journal and the ledger ended; it has no keys yet.

        While the database is away the stream records all the same; `consume` begins when the ledger can be read.

        Parameters
        ----------
        name
            Name of its journal and of its rows in the ledger.
        settings
            How to behave.
        writer, api, market
            Shared by all streams.

        Raises
        ------
        JournalError
            If the journal cannot be read.
        """
        folder = settings.journal_folder / name
        next_seq = max(await asyncio.to_thread(recover, folder), (int(name) - 1) * SEQ_STEP + 1)
        resume = await asyncio.to_thread(_resume_now, writer, name)
        # A journal that a power cut shortened, or that was deleted, must not use a seq again.
        is_empty = not segments_of(folder)
        first_seq = max(next_seq, resume.last_seq + 1) if resume else _unused_seq(next_seq, is_empty=is_empty)
        journal = _journal(settings, folder, first_seq)
        reader = JournalReader(journal.segments, follow=True)
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
        stream = cls(name, feeds, reader, consumer, settings, first_seq)
        if resume is not None:
            stream.take_up(resume)
        return stream

    @property
    def feed(self) -> FeedConnection:
        """Return the first connection: what both are asked for is asked of it."""
        return self.feeds[0]

    @property
    def key_states(self) -> dict[str, KeyState]:
        """Return what is known of each wanted key that was asked for: the better where two connections have it."""
        found: dict[str, KeyState] = {}
        for state in (KeyState.FAILED, KeyState.REQUESTED, KeyState.SILENT, KeyState.CONFIRMED):
            for feed in self.feeds:
                found |= dict.fromkeys(feed.states.in_state(state), state)
        return {key: state for key, state in found.items() if key in self.feed.keys}

    @property
    def journal_error(self) -> str:
        """Return why the journal cannot be written, or not be read, just now; "" if it can."""
        return self.feed.write_queue.error or self.reader.error

    def change(self, keys: Mapping[str, str]) -> None:
        """Want other keys or modes from now on, on each connection."""
        for feed in self.feeds:
            feed.change(keys)

    async def consume(self) -> None:
        """Run the consumer, as soon as the ledger is known.

        If the database has lost what it had committed, it goes on from where the ledger ends now.
        """
        writer = self.consumer.writer
        if not self.consumer.knows_ledger:
            self.take_up(await asyncio.to_thread(writer.resume, self.name, unused_seq=self.first_seq))
        while True:
            try:
                await self.consumer.run()
            except LedgerBehindError as exc:
                log.error("%s", exc)
                self.take_up(await asyncio.to_thread(writer.resume, self.name))
            else:
                return

    def take_up(self, resume: Resume) -> None:
        """Let the consumer go on from where the ledger ends."""
        self.reader.seek(resume.checkpoint)
        self.consumer.resume(resume)

    @property
    def unwritten_records(self) -> int:
        """Records of this process that nobody has read yet, as the ledger is not known."""
        return 0 if self.consumer.knows_ledger else self.feed.write_queue.journal.records

    def finish(self) -> None:
        """Say that nothing more comes into the journal: the consumer ends when it has taken what is there."""
        try:
            self.feed.write_queue.journal.close()
        except JournalError as exc:  # the kernel has it: what can be read is committed
            log.error("journal not closed in order stream=%s error=%s", self.name, exc)
        self.reader.stop_following()
        self.consumer.arrived.set()

    def left_bytes(self) -> int:
        """Return how much of the journal is not committed; when the consumer has ended.

        Of a ledger that was never read nothing is known: then it is what this process has recorded.
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
        """Compress and delete segments now and then; a failure costs room, never records."""
        stopping = threading.Event()
        try:
            while True:
                await self._until_keeping()
                try:
                    await asyncio.to_thread(
                        tidy,
                        self.settings.journal_folder / self.name,
                        self.consumer.committed,
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
        """Wait until it is time to tidy: every minute, and soon while the journal has no room."""
        for _ in range(KEEP_S):
            await asyncio.sleep(1.0)
            if self.feed.write_queue.error:
                return


def _resume_now(writer: RetryingWriter, stream: str) -> Resume | None:
    """Return where a stream goes on; None: the database is away."""
    if writer.is_away:
        return None
    try:
        return writer.writer.ledger.resume(stream)
    except StoreError as exc:
        log.warning("ledger cannot be read, recording goes on without it stream=%s error=%s", stream, exc)
        return None


def _unused_seq(next_seq: int, *, is_empty: bool) -> int:
    """Return a number for the next record that the ledger cannot have, for all that the journal's files tell."""
    if not is_empty:
        return next_seq + LOST_RECORDS_MAX
    return next_seq + max(int((time.time() - NUMBERED_SINCE_S) * NUMBERS_PER_S), LOST_RECORDS_MAX)


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
