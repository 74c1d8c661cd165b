"""Stream state: the state of one stream between two records, and how the next record changes it.

Owns the parts that judge a stream together (normaliser, break detector, stray filter, names, session opens, last seq,
checksum) and their form in a checkpoint. Must not know when a batch is committed or on which task.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np

from ingest.market.session_opens import Opens, SessionOpen
from ingest.market.time import utc_of_ms
from ingest.model.findings import Break
from ingest.model.records import Record, RecordKind
from ingest.model.ticks import TICK_COLUMN_NAMES, Floats, InstrumentRef
from ingest.normalise.normaliser import Normaliser
from ingest.normalise.standby import LostKeys
from ingest.pipeline.breaks import SILENT, SKIPPED, STOPPED, BreakDetector
from ingest.pipeline.decoded_records import INTERRUPTING, DecodedRecords
from ingest.pipeline.naming import Naming
from ingest.pipeline.stray_frames import StrayFilter
from ingest.store.batch import Batch, QuarantinedFrame, Resume, rejected_ticks
from ingest.store.depth_rows import depth_rows
from ingest.store.retrying_writer import RetryingWriter

log = logging.getLogger(__name__)

OnStatus = Callable[[Mapping[str, int], int], None]  # segment -> `MarketStatus`, and the time of its frame, epoch ms


@dataclass(slots=True)
class StreamState:
    """The state of one stream after the records taken so far.

    Parameters
    ----------
    naming
        Names of the stream's keys.
    on_status
        Called with the market state of each `market_info` frame.
    """

    naming: Naming
    on_status: OnStatus
    normaliser: Normaliser = field(default_factory=Normaliser)
    break_detector: BreakDetector = field(default_factory=BreakDetector)
    opens: Opens = field(default_factory=Opens)
    strays: StrayFilter = field(default_factory=StrayFilter)
    read_seq: int = 0  # seq of the last record that was read
    _taken_seq: int = 0  # seq of the last record in this state
    _crc: int = 0  # CRC-32C of the payloads of all committed records
    _found_opens: list[SessionOpen] = field(default_factory=list)  # not in a batch yet

    @property
    def taken_seq(self) -> int:
        """Seq of the last record in this state."""
        return self._taken_seq

    @classmethod
    def load(cls, resume: Resume, writer: RetryingWriter, *, unknown_keys_max: int, on_status: OnStatus) -> StreamState:
        """Return the state in a checkpoint, or that of a new stream; see `Naming` for the parameters."""
        state: dict[str, Any] = json.loads(resume.state) if resume.state else {"seq": 0, "listening": {}}
        break_detector = BreakDetector(**state["listening"])
        day = state.get("day", -1)  # checkpoints of an early version lack it
        return cls(
            Naming(writer, unknown_keys_max=unknown_keys_max, day=day, resumed=bool(resume.state)),
            on_status,
            Normaliser.load(state["normaliser"].encode()) if resume.state else Normaliser(),
            break_detector,
            Opens(state.get("opens")),
            StrayFilter((break_detector.last_ms, break_detector.received_ms) if break_detector.last_ms else None),
            read_seq=state["seq"],
            _taken_seq=state["seq"],
            _crc=int(resume.digest, 16) if resume.digest else 0,
        )

    def dump(self) -> bytes:
        """Serialise the state for the checkpoint."""
        state = {
            "seq": self._taken_seq,
            "listening": self.break_detector.dump(),
            "opens": self.opens.dump(),
            "day": self.naming.day,
            "normaliser": self.normaliser.dump().decode(),
        }
        return json.dumps(state).encode()

    def recall(self, instruments: Sequence[InstrumentRef], rows: Floats) -> None:
        """Take over the last tick of each instrument in records that the journal has lost; see `Ledger.recall`."""
        self.normaliser.states.recall(instruments, rows)
        newest = [np.nanmax(rows[:, TICK_COLUMN_NAMES.index(name)], initial=0) for name in ("ts", "received_at", "ltt")]
        self.break_detector.recall(*(int(us // 1000) for us in newest))

    def learn(self, read: DecodedRecords, start: int, stop: int) -> None:
        """Replay committed records to rebuild the state; write nothing."""
        self._apply(read, start, stop)
        self._forget_findings()

    def take(self, batch: Batch, read: DecodedRecords, start: int, stop: int) -> None:
        """Add records `start` to `stop` to a batch: their rows, findings and end position."""
        breaks, rows = self._apply(read, start, stop)
        batch.breaks += breaks
        batch.rows.extend(rows)
        if self.normaliser.book.size:
            batch.depth.append(depth_rows(rows, self.normaliser.book))
        records = read.records[start:stop]
        for record in records:
            self._crc = google_crc32c.extend(self._crc, record.payload)
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
        batch.opens += self._found_opens
        self._forget_findings()

    def _forget_findings(self) -> None:
        self._found_opens.clear()
        self.normaliser.forget_findings()

    def _apply(self, read: DecodedRecords, start: int, stop: int) -> tuple[list[Break], Floats]:
        """Apply records `start` to `stop`; an event can only be the first of them.

        Returns
        -------
        tuple
            Breaks before the records, and their rows, shape (rows, 28).
        """
        records = read.records[start:stop]
        self._taken_seq = records[-1].seq
        breaks = self._listen(read, start, stop)
        rows = self.normaliser.apply(
            read.frames.part(start, stop),
            seq=np.array([record.seq for record in records]),
            received_us=np.array([record.received_us for record in records]),
            sockets=np.array([record.socket for record in records]) if self.normaliser.standby.run else 0,
            held=self.naming.held,
        )
        return breaks, rows

    def _listen(self, read: DecodedRecords, start: int, stop: int) -> list[Break]:
        """Follow the connection over the records; an interruption can only be at the first."""
        first, at_ms = read.records[start], self.break_detector.last_ms
        loss = self._loss(first)
        breaks: list[Break] = []
        for index in range(start, stop):
            status = read.frames.segment_status.get(index)
            if status:
                self.on_status(status, read.current_ms[index])
                self._found_opens += self.opens.hear(status, utc_of_ms(read.current_ms[index]))
            if self._is_unheard(read, index, loss if index == start else None):
                continue
            if found := self.break_detector.take(
                read.records[index], read.current_ms[index], read.trade_ms[index], status
            ):
                breaks.append(found)
        if loss is not None:
            self._lose(first, loss, at_ms)
        elif breaks and breaks[0].reason in {SILENT, SKIPPED}:
            self.normaliser.interrupt(at_ms=breaks[0].started_ms)
        return breaks

    def _loss(self, record: Record) -> LostKeys | None:
        """Take an event of a connection; return the keys that it interrupts; None: it is no such event."""
        if record.kind not in INTERRUPTING:
            return None
        places = self.normaliser.states.known_places(
            json.loads(record.payload)["instrument_keys"] if record.kind == RecordKind.UNSUBSCRIBED else ()
        )
        return self.normaliser.standby.note(record, places)

    def _is_unheard(self, read: DecodedRecords, index: int, loss: LostKeys | None) -> bool:
        """Tell whether a record shows no break, because the other connection of the pair continues or is ahead."""
        if not self.normaliser.standby.run:
            return False
        behind = 0 < read.current_ms[index] < self.break_detector.last_ms
        return behind or (loss is not None and not loss.whole)

    def _lose(self, record: Record, loss: LostKeys, at_ms: int) -> None:
        """Interrupt the keys that are no longer received."""
        keys = None if loss.whole else [self.normaliser.states.keys[place] for place in loss.places]
        if record.kind == RecordKind.UNSUBSCRIBED or (
            record.kind == RecordKind.DISCONNECTED and json.loads(record.payload)["reason"] == STOPPED
        ):
            self.normaliser.stop(keys, at_ms=at_ms)
        elif record.kind == RecordKind.CONNECTED or not loss.whole:
            self.normaliser.interrupt(keys, at_ms=at_ms)
