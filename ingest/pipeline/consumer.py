"""Consumer: records of a source become committed batches. Live ingestion and replay are this.

Natural batching: while one batch is being committed the next takes whatever arrives, so low
load costs the latency of one commit and high load makes large batches. Limits: rows of a batch,
bytes of one read. At most two batches exist at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import google_crc32c
import numpy as np

from ingest.decode.frames import NOTHING, decode_all
from ingest.journal.sources import Source
from ingest.market.session_opens import Opens, SessionOpen
from ingest.model.findings import Break
from ingest.model.records import Position, Record, RecordKind
from ingest.model.ticks import TICK_COLUMN_NAMES, Floats
from ingest.normalise.normaliser import Normaliser
from ingest.normalise.standby import LostKeys
from ingest.pipeline.breaks import SILENT, SKIPPED, STOPPED, BreakDetector
from ingest.pipeline.decoded_records import INTERRUPTING, DecodedRecords
from ingest.pipeline.naming import Naming
from ingest.pipeline.stray_frames import StrayFilter
from ingest.settings import Settings
from ingest.store.batch import Batch, QuarantinedFrame, Resume, rejected_ticks
from ingest.store.retrying_writer import RetryingWriter
from ingest.store.row_buffer import RowBuffer


def limits_of(settings: Settings) -> ConsumerLimits:
    """Return the consumer's limits as the settings have them."""
    return ConsumerLimits(
        batch_rows_max=settings.batch_rows_max,
        checkpoint_s=settings.checkpoint_s,
        unknown_keys_max=settings.unknown_keys_per_day_max,
    )


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """How much the consumer takes at a time."""

    batch_rows_max: int = 10_000  # 2.2 MB of rows, two at a time; larger batches gain little
    read_bytes_max: int = 2 * 2**20  # some 6,000 full updates, 15 ms, then the event loop has its turn
    checkpoint_s: float = 10.0  # what a restart may have to decode again
    unknown_keys_max: int = 5_000  # of one day that become instruments though no list has them
    poll_s: float = 0.02  # how often an idle source is asked, should its signal be missed
    gather_s: float = 0.01  # while a batch is in flight, so long may records gather: a decode costs 1 ms, however few


@dataclass(slots=True)
class StreamCounts:
    """What has become of the records so far; the numbers of `tickline status`."""

    records: int = 0  # records taken into batches by this run
    frames: int = 0  # frames committed by this run
    frames_before: int = 0  # frames that were committed before this run
    ticks: int = 0
    rejected: int = 0
    duplicates: int = 0  # updates that the other of two connections had brought
    quarantined: int = 0
    batches: int = 0


@dataclass(slots=True)
class Consumer:
    """Decode, normalise and commit one stream of records.

    Parameters
    ----------
    source
        Where records come from, already standing at the position to begin with.
    writer
        Where batches go; other streams may share it.
    stream
        Name of the stream in the ledger.
    arrived
        Set by whoever adds to the source, so that the consumer need not wait for its poll.
    """

    source: Source
    writer: RetryingWriter
    stream: str
    limits: ConsumerLimits = field(default_factory=ConsumerLimits)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    account: StreamCounts = field(default_factory=StreamCounts)
    normaliser: Normaliser = field(default_factory=Normaliser)
    on_status: Callable[[Mapping[str, int], int], None] = lambda status, at_ms: None  # told of `market_info` frames
    on_rows: Callable[[Floats], None] | None = None  # given each new row, shape (rows, 28), a view of the batch
    listening: BreakDetector = field(default_factory=BreakDetector)
    opens: Opens = field(default_factory=Opens)
    knows_ledger: bool = False  # since `resume`; before it nothing is read
    naming: Naming = field(init=False)
    _opens: list[SessionOpen] = field(default_factory=list)  # found, and not in a batch yet
    _committed: Position | None = None
    _seq: int = 0  # of the last record that was read
    _taken_seq: int = 0  # of the last record that the state knows
    _fresh: bool = True  # nothing was taken since `resume`: records may be in the ledger already
    _reached: Position | None = None  # end of the last batch begun; ahead of _committed by what is in flight
    _crc: int = 0
    _clock: StrayFilter = field(default_factory=StrayFilter)
    _read: DecodedRecords | None = None
    _behind: bool = False  # the last read was a large one: the next will be, without waiting
    _batch: Batch | None = None
    _spare: list[RowBuffer] = field(default_factory=list)
    _writing: asyncio.Task[None] | None = None
    _checkpointed_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.naming = Naming(self.writer, unknown_keys_max=self.limits.unknown_keys_max)

    @property
    def committed(self) -> Position | None:
        """Where the ledger ends."""
        return self._committed

    def resume(self, resume: Resume) -> None:
        """Take up the state that belongs to the source's position.

        Records up to the committed position are decoded once more for what they teach, not written.
        """
        self.knows_ledger = True
        self._committed = self._reached = resume.committed
        self._crc = int(resume.digest, 16) if resume.digest else 0
        self._read = self._batch = self._writing = None
        self._fresh = True
        state: dict[str, Any] = json.loads(resume.state) if resume.state else {"seq": 0, "listening": {}}
        self._seq = self._taken_seq = state["seq"]
        self.listening = BreakDetector(**state["listening"])
        self.opens, self._opens = Opens(state.get("opens")), []
        day = state.get("day", -1)  # an earlier version did not remember it
        self.naming = Naming(
            self.writer, unknown_keys_max=self.limits.unknown_keys_max, day=day, resumed=bool(resume.state)
        )
        self.normaliser = Normaliser.load(state["normaliser"].encode()) if resume.state else Normaliser()
        last_ms, received_ms = self.listening.last_ms, self.listening.received_ms
        self._clock = StrayFilter((last_ms, received_ms) if last_ms else None)

    def _state(self) -> bytes:
        """Serialise what must be remembered, for the checkpoint."""
        state = {
            "seq": self._taken_seq,
            "listening": self.listening.dump(),
            "opens": self.opens.dump(),
            "day": self.naming.day,
            "normaliser": self.normaliser.dump().decode(),
        }
        return json.dumps(state).encode()

    async def run(self) -> None:
        """Consume until the source is finished and all of it is committed."""
        self._spare = [RowBuffer(self.limits.batch_rows_max) for _ in range(2)]
        while True:
            self.arrived.clear()
            if self._read is None:
                if records := self.source.read(self.limits.read_bytes_max):
                    self._clock.add(self._decode(records))
                self._read = self._clock.judged(final=self.source.finished)
            moved = self._read is not None
            full = await self._fill(self._read) if self._read is not None else False
            idle = self._writing is None or self._writing.done()
            if self._batch is not None and (full or idle):
                await self._dispatch(self._batch)
            elif not moved:
                if idle and self.source.finished:
                    break
                await self._wait()
            elif self._writing is not None and not full and not self._behind:
                await asyncio.wait({self._writing}, timeout=self.limits.gather_s)
            await asyncio.sleep(0)
        await self._settle()
        if self._committed is not None and self.account.batches:
            await asyncio.to_thread(self.writer.checkpoint, self.stream, self._committed, self._state())

    async def _wait(self) -> None:
        """Wait for records, or for the batch in flight."""
        waiting: set[asyncio.Task[Any]] = {asyncio.create_task(self.arrived.wait())}
        signal = next(iter(waiting))
        if self._writing is not None and not self._writing.done():
            waiting.add(self._writing)
        try:
            await asyncio.wait(waiting, timeout=self.limits.poll_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            signal.cancel()

    def _decode(self, records: list[Record]) -> DecodedRecords:
        """Decode what was read."""
        is_frame = [record.kind == RecordKind.FRAME for record in records]
        frames = decode_all(
            [record.payload if framed else NOTHING for record, framed in zip(records, is_frame, strict=True)]
        )
        self._behind = sum(len(record.payload) for record in records) > self.limits.read_bytes_max * 3 // 4
        segment, committed = self.source.segment, 0
        if self._committed is not None and self._fresh:
            committed = sum(not self._committed < Position(segment, record.end_offset) for record in records)
        read = DecodedRecords(segment, records, frames, committed, self._seq)
        self._seq = records[-1].seq
        return read

    async def _name(self, read: DecodedRecords) -> None:
        """Have the database say what the keys of the next records mean, of those that are not known for their day."""
        states, committed = self.normaliser.states, read.at < read.committed
        if keys := self.naming.unnamed(read, states):
            await self._settle()  # the connection is busy until then
            if await self.naming.ask(keys, states, committed=committed):
                self._checkpointed_at = -math.inf  # with these rows: a restart may be told otherwise by then

    async def _recall(self, first_seq: int, last_seq: int) -> None:
        """Take the state behind records that the journal has not from the database, if that has them.

        So it is after a power cut: the database kept frames that the journal's disk did not. Judged by
        an older state, what they brought would be counted a second time.
        """
        await self._settle()
        instruments, rows = await asyncio.to_thread(self.writer.recall, self.stream, first_seq, last_seq)
        if not instruments:
            return
        self.normaliser.states.recall(instruments, rows)
        newest = [np.nanmax(rows[:, TICK_COLUMN_NAMES.index(name)], initial=0) for name in ("ts", "received_at", "ltt")]
        self.listening.recall(*(int(us // 1000) for us in newest))
        log.warning(
            "journal lacks records first_seq=%d last_seq=%d, their end is taken from the database instruments=%d",
            first_seq,
            last_seq,
            len(instruments),
        )

    async def _fill(self, read: DecodedRecords) -> bool:
        """Move records into the batch; True when it must be committed before more can go in."""
        while read.at < len(read.records):
            if hole := read.holes.pop(read.at, None):
                await self._recall(*hole)
            if self.naming.is_due(read):
                await self._name(read)
            if read.at < read.committed:
                self._learn(read)
                continue
            batch = self._batch
            if batch is not None and (batch.segment != read.segment or not batch.rows.has_room(read.next_updates)):
                return True
            self._take(batch or await self._begin(read.records[read.at], read.segment), read)
        self._read = None
        return False

    def _learn(self, read: DecodedRecords) -> None:
        """Let records that are already committed change the state and nothing else."""
        start, stop = read.next_stretch(max(self.limits.batch_rows_max, read.next_updates))
        self._apply(read, start, stop)
        self._opens.clear()
        self.normaliser.forget_findings()
        self.account.frames_before += sum(record.kind == RecordKind.FRAME for record in read.records[start:stop])

    async def _begin(self, record: Record, segment: str) -> Batch:
        if not self._spare:
            await self._settle()
        reached = self._reached
        start = reached.offset if reached is not None and reached.segment == segment else 0
        rows = self._spare.pop()
        rows.clear()
        self._batch = Batch(segment, start, rows, first_seq=record.seq)
        return self._batch

    def _take(self, batch: Batch, read: DecodedRecords) -> None:
        """Account for records in the batch, with their rows."""
        start, stop = read.next_stretch(batch.rows.room(read.next_updates))
        before = batch.rows.rows
        breaks, rows = self._apply(read, start, stop)
        batch.breaks += breaks
        batch.rows.extend(rows)
        batch.rows.encode()
        if self.on_rows is not None and batch.rows.rows > before:
            self.on_rows(batch.rows.values()[before:])
        records = read.records[start:stop]
        for record in records:
            self._crc = google_crc32c.extend(self._crc, record.payload)
        self.account.records += len(records)
        self._fresh = False
        batch.offset_end, batch.last_seq = records[-1].end_offset, records[-1].seq
        batch.digest = f"{self._crc:08x}"
        batch.frames += sum(record.kind == RecordKind.FRAME for record in records)
        for index, error in sorted(read.frames.errors.items()):
            record = read.records[index]
            if start <= index < stop and record.kind == RecordKind.FRAME:
                log.warning("frame quarantined seq=%d reason=%s", record.seq, error)
                batch.quarantined.append(
                    QuarantinedFrame(record.seq, record.end_offset, record.received_us, str(error), record.payload)
                )
        batch.rejected += rejected_ticks(self.normaliser.rejected, records)
        batch.duplicates += self.normaliser.duplicates
        batch.gaps += self.normaliser.gaps
        batch.unheard += self.normaliser.unheard
        batch.official += self.normaliser.official
        batch.opens += self._opens
        self._opens.clear()
        self.normaliser.forget_findings()

    def _apply(self, read: DecodedRecords, start: int, stop: int) -> tuple[list[Break], Floats]:
        """Take a stretch of records: an event, if it begins with one, then the frames.

        Returns
        -------
        tuple
            The breaks before it, and its rows.
        """
        records = read.records[start:stop]
        self._taken_seq = records[-1].seq
        breaks = self._listen(read, start, stop)
        rows = self.normaliser.apply(
            read.frames.part(start, stop),
            seq=np.array([record.seq for record in records]),
            received_us=np.array([record.received_us for record in records]),
            sockets=np.array([record.socket for record in records]),
            held=self.naming.held,
        )
        return breaks, rows

    def _listen(self, read: DecodedRecords, start: int, stop: int) -> list[Break]:
        """Follow the connection over a stretch; what interrupts listening is at its begin."""
        first, at_ms = read.records[start], self.listening.last_ms
        loss = self._loss(first)
        breaks: list[Break] = []
        for index in range(start, stop):
            status = read.frames.segment_status.get(index)
            if status:
                self.on_status(status, read.current_ms[index])
                self._opens += self.opens.hear(status, datetime.fromtimestamp(read.current_ms[index] / 1000, UTC))
            if self._is_unheard(read, index, loss if index == start else None):
                continue
            if found := self.listening.take(read.records[index], read.current_ms[index], read.trade_ms[index], status):
                breaks.append(found)
        if loss is not None:
            self._lose(first, loss, at_ms)
        elif breaks and breaks[0].reason in {SILENT, SKIPPED}:
            self.normaliser.interrupt(at_ms=breaks[0].started_ms)
        return breaks

    def _loss(self, record: Record) -> LostKeys | None:
        """Take an event of a connection; return what nobody listens to by it. None: it is no such event."""
        if record.kind not in INTERRUPTING:
            return None
        places = self.normaliser.states.known_places(
            json.loads(record.payload)["instrument_keys"] if record.kind == RecordKind.UNSUBSCRIBED else ()
        )
        return self.normaliser.pair.note(record, places)

    def _is_unheard(self, read: DecodedRecords, index: int, loss: LostKeys | None) -> bool:
        """Whether a record says nothing of when we listened: the other connection goes on, or is ahead."""
        if not self.normaliser.pair.run:
            return False
        behind = 0 < read.current_ms[index] < self.listening.last_ms
        return behind or (loss is not None and not loss.whole)

    def _lose(self, record: Record, loss: LostKeys, at_ms: int) -> None:
        """Interrupt what nobody listens to any more."""
        keys = None if loss.whole else [self.normaliser.states.keys[place] for place in loss.places]
        if record.kind == RecordKind.UNSUBSCRIBED or (
            record.kind == RecordKind.DISCONNECTED and json.loads(record.payload)["reason"] == STOPPED
        ):
            self.normaliser.stop(keys, at_ms=at_ms)
        elif record.kind == RecordKind.CONNECTED or not loss.whole:
            self.normaliser.interrupt(keys, at_ms=at_ms)

    async def _dispatch(self, batch: Batch) -> None:
        """Hand the batch to the writer's thread."""
        await self._settle()
        if time.monotonic() - self._checkpointed_at >= self.limits.checkpoint_s:
            batch.checkpoint = self._state()
            self._checkpointed_at = time.monotonic()
        self._batch = None
        self._reached = Position(batch.segment, batch.offset_end)
        self._writing = asyncio.create_task(self._commit(batch))

    async def _commit(self, batch: Batch) -> None:
        await asyncio.to_thread(self.writer.write, batch, self.stream)
        account = self.account
        account.batches += 1
        account.frames += batch.frames
        account.ticks += batch.rows.rows
        account.rejected += batch.rejected_updates
        account.duplicates += batch.duplicates
        account.quarantined += len(batch.quarantined)
        self._committed = Position(batch.segment, batch.offset_end)
        self._spare.append(batch.rows)

    async def _settle(self) -> None:
        """Wait for the batch in flight; its error is raised here."""
        if self._writing is not None:
            await self._writing
            self._writing = None
