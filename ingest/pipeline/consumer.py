"""Consumer: turn the records of a source into committed batches, for live ingestion and replay.

While one batch is being committed, the next collects whatever arrives. Commits begin at a pace, because reading,
judging and committing a few records costs nearly as much as doing it for many: so low load costs the latency of the
pace and of one commit, and high load makes large batches. Who listens for ticks gets them without waiting for the pace.
Rows of a batch and bytes of one read are limited. At most three batches exist at a time: one that collects, one that is
being committed, and one that waits for its turn on the writer's thread, so that the server waits for nobody here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ingest.decode.frames import NOTHING, decode_all
from ingest.journal.sources import Source
from ingest.model.durations import Durations
from ingest.model.records import Position, Record, RecordKind
from ingest.model.ticks import DEPTH_LEVELS_MAX, TICK_COLUMN_NAMES, Floats
from ingest.pipeline.decoded_records import DecodedRecords
from ingest.pipeline.naming import Naming
from ingest.pipeline.stream_state import OnStatus, StreamState
from ingest.settings import Settings
from ingest.store.batch import Batch, Resume
from ingest.store.retrying_writer import RetryingWriter
from ingest.store.row_buffer import RowBuffer

log = logging.getLogger(__name__)

TRADED, RECEIVED_AT = TICK_COLUMN_NAMES.index("traded"), TICK_COLUMN_NAMES.index("received_at")
IN_FLIGHT_MAX = 2  # batches on the writer's thread


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """How much the consumer takes at a time."""

    batch_rows_max: int = 10_000  # as `Settings` has it
    read_bytes_max: int = 2**19  # about 1,400 full updates, whose columns stay in the processor's cache: 2 ms
    checkpoint_s: float = 10.0  # a restart decodes about this much again
    unknown_keys_max: int = 5_000  # keys that are in no list and become instruments on one day
    depth_levels: int = 0  # of the order book, that are stored
    poll_s: float = 0.25  # how often an idle source is read in case its signal was missed
    pace_s: float = 0.002  # between the beginnings of two commits, and between two reads if nobody listens


def limits_of(settings: Settings) -> ConsumerLimits:
    """Return the consumer's limits from the settings."""
    return ConsumerLimits(
        batch_rows_max=settings.batch_rows_max,
        pace_s=settings.commit_pace_ms / 1000,
        checkpoint_s=settings.checkpoint_s,
        unknown_keys_max=settings.unknown_keys_per_day_max,
        depth_levels=DEPTH_LEVELS_MAX if settings.depth else 0,
    )


@dataclass(slots=True)
class StreamCounts:
    """Counters of one stream, shown by `tickline status`."""

    records: int = 0  # records taken into batches by this run
    frames: int = 0  # frames committed by this run
    frames_before: int = 0  # frames committed before this run and decoded again
    ticks: int = 0
    trades: int = 0  # ticks that report a trade
    rejected: int = 0
    duplicates: int = 0  # updates that the other connection of a pair brought first
    quarantined: int = 0
    batches: int = 0
    committed_seq: int = 0  # last record that is committed; 0: none is
    committed_us: float = 0.0  # when the newest committed tick was received, epoch microseconds; 0: no tick was


@dataclass(slots=True)
class Consumer:
    """Decode, normalise and commit one stream of records.

    Parameters
    ----------
    source
        Source of records, already at the position to begin with.
    writer
        Writer of the batches; other streams may share it.
    stream
        Name of the stream in the ledger.
    arrived
        Set it after adding to the source, so that the consumer does not wait for its next poll.
    on_status
        Called with the market state of each `market_info` frame.

    Attributes
    ----------
    listener
        Called with new rows as soon as they are judged: shape (rows, 28), float64, a view of the batch; None: nobody
        listens.
    is_urgent
        Whether the listener wants rows at once; otherwise records are read at the pace of the commits.
    """

    source: Source
    writer: RetryingWriter
    stream: str
    limits: ConsumerLimits = field(default_factory=ConsumerLimits)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    counts: StreamCounts = field(default_factory=StreamCounts)
    on_status: OnStatus = lambda status, at_ms: None
    listener: Callable[[Floats], None] | None = None
    is_urgent: bool = True
    knows_ledger: bool = False  # True after `resume`; nothing is read before
    delays: Durations = field(default_factory=Durations)  # of each tick, from its receipt to its commit
    state: StreamState = field(init=False)
    _committed: Position | None = None
    _fresh: bool = True  # nothing was taken since `resume`, so records may be in the ledger already
    _reached: Position | None = None  # end of the last batch begun; ahead of _committed by what is in flight
    _read: DecodedRecords | None = None
    _behind: bool = False  # the last read was large, so the next will be too without waiting
    _batch: Batch | None = None
    _spare: list[RowBuffer] = field(default_factory=list)
    _writing: deque[asyncio.Task[None]] = field(default_factory=deque)  # the commit in flight, and the one behind it
    _began_s: deque[float] = field(default_factory=deque)  # when they began, by the monotonic clock
    _failure: BaseException | None = None  # of a commit; none after it may be made
    _dispatched_at: float = 0.0  # when the last commit began, by the monotonic clock
    _checkpointed_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        naming = Naming(self.writer, unknown_keys_max=self.limits.unknown_keys_max)
        self.state = StreamState(naming, self.on_status)

    @property
    def committed(self) -> Position | None:
        """Where the ledger ends."""
        return self._committed

    def resume(self, resume: Resume) -> None:
        """Load the state that belongs to the source's position.

        Records up to the committed position are decoded again to rebuild the state, but not written.
        """
        self.knows_ledger = True
        self._committed = self._reached = resume.committed
        self.counts.committed_seq = resume.last_seq
        self._read = self._batch = self._failure = None
        self._writing.clear()
        self._began_s.clear()
        self._fresh = True
        self.state = StreamState.load(
            resume, self.writer, unknown_keys_max=self.limits.unknown_keys_max, on_status=self.on_status
        )

    async def run(self) -> None:
        """Consume until the source is finished and all its records are committed."""
        self._spare = [RowBuffer(self.limits.batch_rows_max) for _ in range(1 + IN_FLIGHT_MAX)]
        while True:
            self.arrived.clear()
            if self._writing and self._writing[0].done():
                await self._settle(left=IN_FLIGHT_MAX)  # a commit that failed ends this, though no record comes
            if self._read is None:
                if records := self.source.read(self.limits.read_bytes_max):
                    self.state.strays.add(self._decode(records))
                self._read = self.state.strays.judged(final=self.source.finished)
            moved = self._read is not None
            full = await self._fill(self._read) if self._read is not None else False
            idle = self._is_idle
            hurry = full or self._behind or self.source.finished
            if self._batch is not None and (full or (idle and (hurry or self._pace_left_s() <= 0))):
                await self._dispatch(self._batch)
            elif not moved and idle and self._batch is None and self.source.finished:
                break
            if hurry and moved:
                await asyncio.sleep(0)
            else:
                await self._wait()
        await self._settle()
        if self._committed is not None and self.counts.batches:
            await self.writer.run(self.writer.checkpoint, self.stream, self._committed, self.state.dump())

    async def leave(self) -> None:
        """Wait for commits in flight, whatever becomes of them; call it when `run` has failed or was cancelled."""
        await asyncio.gather(*self._writing, return_exceptions=True)

    @property
    def _is_idle(self) -> bool:
        """Whether no batch is being committed."""
        return all(task.done() for task in self._writing)

    @property
    def commit_s(self) -> float:
        """How long the oldest commit in flight has been waited for, seconds; 0: none is in flight."""
        waiting = (began_s for task, began_s in zip(self._writing, self._began_s, strict=True) if not task.done())
        return max(time.monotonic() - next(waiting, math.inf), 0.0)

    def _pace_left_s(self) -> float:
        """Return how long to wait until the next commit may begin, seconds; not above 0: it may begin now."""
        return self._dispatched_at + self.limits.pace_s - time.monotonic()

    async def _wait(self) -> None:
        """Wait until there is something to do: records, the end of the commit in flight, or the pace."""
        pace_s = self._pace_left_s()
        if self.listener is None or not self.is_urgent:  # what arrives meanwhile is read at once
            if not self._is_idle:
                await asyncio.wait(self._writing, timeout=self.limits.poll_s)
            if pace_s > 0:
                await asyncio.sleep(self._pace_left_s())
                return
        is_pending = self._batch is not None and self._is_idle
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(pace_s, 0) if is_pending else self.limits.poll_s):
                await self.arrived.wait()

    def _decode(self, records: list[Record]) -> DecodedRecords:
        """Decode the records of one read."""
        is_frame = [record.kind == RecordKind.FRAME for record in records]
        frames = decode_all(
            [record.payload if framed else NOTHING for record, framed in zip(records, is_frame, strict=True)],
            levels=self.limits.depth_levels,
        )
        self._behind = sum(len(record.payload) for record in records) > self.limits.read_bytes_max * 3 // 4
        segment, committed = self.source.segment, 0
        if self._committed is not None and self._fresh:
            committed = sum(not self._committed < Position(segment, record.end_offset) for record in records)
        read = DecodedRecords(segment, records, frames, committed, self.state.read_seq)
        self.state.read_seq = records[-1].seq
        return read

    async def _name(self, read: DecodedRecords) -> None:
        """Ask the database what the keys of the next records mean, unless they are known for their day."""
        states, committed = self.state.normaliser.states, read.at < read.committed
        if keys := self.state.naming.unnamed(read, states):
            await self._settle()  # the connection is busy until then
            if await self.state.naming.ask(keys, states, committed=committed):
                self._checkpointed_at = -math.inf  # store the names with these rows: a restart may get another answer

    async def _recall(self, first_seq: int, last_seq: int) -> None:
        """Rebuild the state after records that are missing in the journal from the database, if it has them.

        After a power cut the database may have frames that the journal's disk has lost. With an older
        state, the volume in them would be counted twice.
        """
        await self._settle()
        instruments, rows = await self.writer.run(self.writer.recall, self.stream, first_seq, last_seq)
        if not instruments:
            return
        self.state.recall(instruments, rows)
        log.warning(
            "journal lacks records, state is rebuilt from the database first_seq=%d last_seq=%d instruments=%d",
            first_seq,
            last_seq,
            len(instruments),
        )

    async def _fill(self, read: DecodedRecords) -> bool:
        """Move records into the batch; return True when it must be committed before more fit."""
        while read.at < len(read.records):
            if hole := read.holes.pop(read.at, None):
                await self._recall(*hole)
            if self.state.naming.is_due(read):
                await self._name(read)
            if read.at < read.committed:
                self._learn(read)
                continue
            batch = self._batch
            if batch is not None and (batch.segment != read.segment or not batch.rows.has_room(read.next_updates)):
                return True
            self._take(batch or self._begin(read.records[read.at], read.segment), read)
        self._read = None
        return False

    def _learn(self, read: DecodedRecords) -> None:
        """Replay committed records to rebuild the state; write nothing."""
        start, stop = read.next_stretch(max(self.limits.batch_rows_max, read.next_updates))
        self.state.learn(read, start, stop)
        self.counts.frames_before += sum(record.kind == RecordKind.FRAME for record in read.records[start:stop])

    def _begin(self, record: Record, segment: str) -> Batch:
        reached = self._reached
        start = reached.offset if reached is not None and reached.segment == segment else 0
        rows = self._spare.pop()
        rows.clear()
        self._batch = Batch(segment, start, rows, first_seq=record.seq)
        return self._batch

    def _take(self, batch: Batch, read: DecodedRecords) -> None:
        """Add the next records, with their rows, to the batch."""
        start, stop = read.next_stretch(batch.rows.room(read.next_updates))
        before = batch.rows.rows
        self.state.take(batch, read, start, stop)
        self.counts.records += stop - start
        self._fresh = False
        if self.listener is not None and batch.rows.rows > before:
            batch.rows.nullify()
            self.listener(batch.rows.values()[before:])
        if self.writer.stores:
            batch.rows.encode()  # after the listener has the rows, which then come sooner

    async def _dispatch(self, batch: Batch) -> None:
        """Start to commit the batch on the writer's thread, after the one that it may still be committing."""
        await self._settle(left=IN_FLIGHT_MAX - 1)
        if time.monotonic() - self._checkpointed_at >= self.limits.checkpoint_s:
            batch.checkpoint = self.state.dump()
            self._checkpointed_at = time.monotonic()
        self._batch = None
        self._reached = Position(batch.segment, batch.offset_end)
        self._dispatched_at = time.monotonic()
        task = asyncio.create_task(self._commit(batch))
        task.add_done_callback(lambda _: self.arrived.set())
        self._writing.append(task)
        self._began_s.append(self._dispatched_at)

    async def _commit(self, batch: Batch) -> None:
        await self.writer.run(self._write, batch)
        counts, rows = self.counts, batch.rows.values()
        if len(rows):
            received_us = rows[:, RECEIVED_AT]
            self.delays.add_all((time.time_ns() / 1000 - received_us) / 1e6)
            counts.trades += int(np.count_nonzero(rows[:, TRADED] == 1.0))
            counts.committed_us = max(counts.committed_us, float(received_us.max()))
        counts.committed_seq = batch.last_seq
        counts.batches += 1
        counts.frames += batch.frames
        counts.ticks += batch.rows.rows
        counts.rejected += batch.rejected_updates
        counts.duplicates += batch.duplicates
        counts.quarantined += len(batch.quarantined)
        self._committed = Position(batch.segment, batch.offset_end)
        self._spare.append(batch.rows)

    def _write(self, batch: Batch) -> None:
        """Write a batch, on the writer's thread; after a batch that failed none is written."""
        if self._failure is not None:
            raise self._failure
        try:
            self.writer.write(batch, self.stream)
        except BaseException as exc:
            self._failure = exc
            raise

    async def _settle(self, left: int = 0) -> None:
        """Wait until at most `left` batches are being committed; raise the error of one that failed."""
        while self._writing and (len(self._writing) > left or self._writing[0].done()):
            try:
                await self._writing[0]
            except Exception:
                await asyncio.gather(*self._writing, return_exceptions=True)  # those behind it were not written
                self._writing.clear()
                self._began_s.clear()
                raise
            self._writing.popleft()
            self._began_s.popleft()
