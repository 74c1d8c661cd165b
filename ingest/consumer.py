"""Consumer: records of a source become committed batches. Live ingestion and replay are this.

Natural batching: while one batch is being committed the next takes whatever arrives, so low
load costs the latency of one commit and high load makes large batches. Limits: rows of a batch,
bytes of one read. At most two batches exist at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import google_crc32c

from ingest.batch import RowBuffer
from ingest.decode import decode
from ingest.journal import Position
from ingest.model import Frame, Record, RecordKind
from ingest.normalise import IST_OFFSET_MS, Normaliser
from ingest.patient_writer import PatientWriter
from ingest.sources import Source
from ingest.writer import Batch, QuarantinedFrame, RejectedTick, Resume
from sql.errors import DecodeError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the consumer takes at a time."""

    batch_rows_max: int = 20_000  # 4.5 MB of rows; larger batches gain under 2 %
    read_bytes_max: int = 256 * 2**10  # some 5 ms of decoding, then the event loop has its turn
    checkpoint_s: float = 10.0  # what a restart may have to decode again
    poll_s: float = 0.02  # how often an idle source is asked, should its signal be missed


@dataclass(slots=True)
class Account:
    """What has become of the records so far; the numbers of `tickline status`."""

    records: int = 0  # records taken into batches by this run
    frames: int = 0  # frames committed by this run
    frames_before: int = 0  # frames that were committed before this run
    ticks: int = 0
    rejected: int = 0
    quarantined: int = 0
    batches: int = 0
    write_s: float = 0.0
    last_current_ms: int = 0  # server time of the newest frame seen
    fresh_from_us: float = float("inf")  # event times committed since `take_fresh_range` was last asked
    fresh_to_us: float = float("-inf")

    def take_fresh_range(self) -> tuple[datetime, datetime] | None:
        """Return the half-open range of event times committed since the last call, and begin anew."""
        if self.fresh_from_us > self.fresh_to_us:
            return None
        start, end = (datetime.fromtimestamp(us / 1e6, UTC) for us in (self.fresh_from_us, self.fresh_to_us + 1))
        self.fresh_from_us, self.fresh_to_us = float("inf"), float("-inf")
        return start, end

    def give_back_range(self, start: datetime, end: datetime) -> None:
        """Undo `take_fresh_range`: what was to be done with the range failed."""
        self.fresh_from_us = min(self.fresh_from_us, start.timestamp() * 1e6)
        self.fresh_to_us = max(self.fresh_to_us, end.timestamp() * 1e6 - 1)


@dataclass(slots=True)
class Consumer:
    """Decode, normalise and commit one stream of records.

    Parameters
    ----------
    source
        Where records come from, already standing at the position to begin with.
    writer
        Where batches go. Nobody else may use it while this runs.
    stream
        Name of the stream in the ledger.
    arrived
        Set by whoever adds to the source, so that the consumer need not wait for its poll.
    """

    source: Source
    writer: PatientWriter
    stream: str
    limits: Limits = field(default_factory=Limits)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    account: Account = field(default_factory=Account)
    normaliser: Normaliser = field(default_factory=Normaliser)
    _committed: Position | None = None
    _reached: Position | None = None  # end of the last batch begun; ahead of _committed by what is in flight
    _crc: int = 0
    _records: deque[Record] = field(default_factory=deque)
    _batch: Batch | None = None
    _spare: list[RowBuffer] = field(default_factory=list)
    _writing: asyncio.Task[None] | None = None
    _checkpointed_at: float = field(default_factory=time.monotonic)

    @property
    def committed(self) -> Position | None:
        """Where the ledger ends."""
        return self._committed

    def resume(self, resume: Resume) -> None:
        """Take up the state that belongs to the source's position.

        Records up to the committed position are decoded once more for what they teach, not written.
        """
        self._committed = self._reached = resume.committed
        self._crc = int(resume.digest, 16) if resume.digest else 0
        if resume.state:
            self.normaliser = Normaliser.load(resume.state)

    async def run(self) -> None:
        """Consume until the source is finished and all of it is committed."""
        self._spare = [RowBuffer(self.limits.batch_rows_max) for _ in range(2)]
        while True:
            self.arrived.clear()
            if not self._records:
                self._records.extend(self.source.read(self.limits.read_bytes_max))
            moved = bool(self._records)
            full = await self._fill() if moved else False
            idle = self._writing is None or self._writing.done()
            if self._batch is not None and (full or idle):
                await self._dispatch(self._batch)
            elif not moved:
                if idle and self.source.finished:
                    break
                await self._wait()
            await asyncio.sleep(0)
        await self._settle()
        if self._committed is not None and self.account.batches:
            await asyncio.to_thread(self.writer.checkpoint, self.stream, self._committed, self.normaliser.dump())

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

    async def _fill(self) -> bool:
        """Move records into the batch; True when it must be committed before more can go in."""
        segment = self.source.segment
        while self._records:
            record = self._records[0]
            if self._batch is not None and self._batch.segment != segment:
                return True
            frame = self._decode(record)
            if isinstance(frame, Frame):
                if self._batch is not None and not self._batch.rows.has_room(len(frame.updates)):
                    return True
                await self._introduce(frame)
            self._records.popleft()
            if self._is_committed(record, segment):
                self._learn(record, frame)
            else:
                self._take(self._batch or await self._begin(record, segment), record, frame)
        return False

    def _decode(self, record: Record) -> Frame | DecodeError | None:
        if record.kind != RecordKind.FRAME:
            return None
        try:
            return decode(record.payload)
        except DecodeError as exc:
            return exc

    async def _introduce(self, frame: Frame) -> None:
        """Have the database name the instruments that this stream has not met before."""
        if not (unknown := self.normaliser.unknown(frame)):
            return
        await self._settle()  # the connection is busy until then
        day = datetime.fromtimestamp((frame.current_ms + IST_OFFSET_MS) / 1000, UTC).date()
        self.normaliser.learn(await asyncio.to_thread(self.writer.register, unknown, day))

    def _is_committed(self, record: Record, segment: str) -> bool:
        committed = self._committed
        return (
            committed is not None
            and self.account.records == 0
            and (segment, record.end_offset) <= (committed.segment, committed.offset)
        )

    def _learn(self, record: Record, frame: Frame | DecodeError | None) -> None:
        """Let a record that is already committed change the state and nothing else."""
        rows = self._spare[0]
        self._apply(record, frame, rows)
        rows.rows = 0
        self.normaliser.gaps.clear()
        self.normaliser.rejected.clear()
        self.account.frames_before += record.kind == RecordKind.FRAME

    async def _begin(self, record: Record, segment: str) -> Batch:
        if not self._spare:
            await self._settle()
        reached = self._reached
        start = reached.offset if reached is not None and reached.segment == segment else 0
        rows = self._spare.pop()
        rows.rows = 0
        self._batch = Batch(segment, start, rows, first_seq=record.seq)
        return self._batch

    def _take(self, batch: Batch, record: Record, frame: Frame | DecodeError | None) -> None:
        """Account for a record in the batch, with its rows."""
        self._apply(record, frame, batch.rows)
        self._crc = google_crc32c.extend(self._crc, record.payload)
        self.account.records += 1
        batch.offset_end, batch.last_seq = record.end_offset, record.seq
        batch.digest = f"{self._crc:08x}"
        batch.frames += record.kind == RecordKind.FRAME
        if isinstance(frame, DecodeError):
            log.warning("frame quarantined seq=%d reason=%s", record.seq, frame)
            batch.quarantined.append(
                QuarantinedFrame(record.seq, record.end_offset, record.received_us, str(frame), record.payload)
            )
        if self.normaliser.rejected:
            batch.rejected += [
                RejectedTick(
                    record.seq,
                    record.end_offset,
                    self.normaliser.states[rejected.instrument_key].instrument_id,
                    rejected.update._asdict(),
                    rejected.reason,
                )
                for rejected in self.normaliser.rejected
            ]
            self.normaliser.rejected.clear()
        if self.normaliser.gaps:
            batch.gaps += self.normaliser.gaps
            self.normaliser.gaps.clear()

    def _apply(self, record: Record, frame: Frame | DecodeError | None, rows: RowBuffer) -> None:
        if isinstance(frame, Frame):
            self.account.last_current_ms = frame.current_ms
            self.normaliser.apply(frame, seq=record.seq, received_us=record.received_us, out=rows)
        elif record.kind == RecordKind.CONNECTED:
            self.normaliser.interrupt()
        elif record.kind == RecordKind.UNSUBSCRIBED:
            self.normaliser.interrupt(json.loads(record.payload)["instrument_keys"])

    async def _dispatch(self, batch: Batch) -> None:
        """Hand the batch to the writer's thread."""
        await self._settle()
        if time.monotonic() - self._checkpointed_at >= self.limits.checkpoint_s:
            batch.checkpoint = self.normaliser.dump()
            self._checkpointed_at = time.monotonic()
        self._batch = None
        self._reached = Position(batch.segment, batch.offset_end)
        self._writing = asyncio.create_task(self._commit(batch))

    async def _commit(self, batch: Batch) -> None:
        began = time.perf_counter()
        await asyncio.to_thread(self.writer.write, batch, self.stream)
        account = self.account
        account.write_s += time.perf_counter() - began
        account.batches += 1
        account.frames += batch.frames
        account.ticks += batch.rows.rows
        account.rejected += len(batch.rejected)
        account.quarantined += len(batch.quarantined)
        if batch.rows.rows:
            times = batch.rows.values()[:, 0]
            account.fresh_from_us = min(account.fresh_from_us, float(times.min()))
            account.fresh_to_us = max(account.fresh_to_us, float(times.max()))
        self._committed = Position(batch.segment, batch.offset_end)
        self._spare.append(batch.rows)

    async def _settle(self) -> None:
        """Wait for the batch in flight; its error is raised here."""
        if self._writing is not None:
            await self._writing
            self._writing = None
