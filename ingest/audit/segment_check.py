"""Compare a journal segment with its rows of the ledger, and its frames with the table. Reads only.

A row of the ledger is called a batch here, although it may have been committed by many: its digest is the checksum of
all records up to its end, so the borders between them are not needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import google_crc32c
import numpy as np
import psycopg

from ingest.audit.expected_rows import UNREADABLE, rows_of_frames
from ingest.audit.report import StreamReport
from ingest.database.queries import query
from ingest.journal.reader import JournalReader
from ingest.market.shown_time import ist
from ingest.market.time import utc_of_us
from ingest.model.records import Record, RecordKind
from ingest.model.ticks import Integers, Mask

READ_BYTES = 2 * 2**20  # decoded at once, whatever the batches: a decode costs 1 ms, however small
SEQ_MAX = 2**63 - 1
# A row of `ticks_by_frame`: the number of its fields, and for each its length and value.
_COUNTED_NAMES = ("seq", "received_us", "ticks", "instruments")
_COUNTED = np.dtype(
    [("fields", ">i2"), *(part for name in _COUNTED_NAMES for part in ((f"{name}_bytes", ">i4"), (name, ">i8")))]
)
_COPY_HEADER_BYTES = 19


@dataclass(frozen=True, slots=True)
class _Batch:
    """A row of the ledger: one batch, or several that continue each other."""

    batch_id: int
    offset_start: int
    offset_end: int
    frames: int
    ticks: int
    rejected: int
    quarantined: int
    duplicates: int
    unlisted_updates: int
    unlisted_frames: int
    first_ts: Any
    last_ts: Any
    digest: str


def note_lost(
    connection: psycopg.Connection[Any], report: StreamReport, first_seq: int, last_seq: int, *, meant: bool = False
) -> None:
    """Report records of a range that the ledger has and the journal lacks; of an inner range, those nobody has.

    `meant`: the numbers were omitted on purpose, because nobody could tell whether the ledger has them.
    """
    span = {"first_seq": first_seq, "last_seq": last_seq}
    row = connection.execute(
        query("audit/batches_of_records"), {"collector": report.collector, "stream": report.stream} | span
    ).fetchone()
    assert row is not None
    batches, first_committed, last_committed, first_ts, last_ts = row
    if batches:
        report.note(
            "lost by the journal",
            f"seq {first_committed} to {last_committed} are committed and not in the journal any more, "
            f"their ticks are of {_instant(first_ts)} to {_instant(last_ts)}: they are in the table, and cannot "
            "be replayed",
        )
    elif last_seq < SEQ_MAX and not meant:
        report.note("records missing", f"seq {first_seq} to {last_seq} are neither in the journal nor in the ledger")


def _instant(ts: datetime | None) -> str:
    return ist(ts) if ts else "no time"


class Segment:
    """One segment and its rows of the ledger."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        report: StreamReport,
        name: str,
        reader: JournalReader,
        crc: int | None,
        *,
        before: Record | None,
        standby_run: str,
        advance: Callable[[int], None],
    ) -> None:
        self.crc, self.before, self.standby_run = crc, before, standby_run
        self.unfinished = False
        self.name = name
        self._connection, self._report, self._reader, self._advance = connection, report, reader, advance
        self._parameters = {"collector": report.collector, "segment": f"{report.stream}/{self.name}"}
        rows = connection.execute(query("audit/ledger_of_segment"), self._parameters).fetchall()
        self.batches = [_Batch(*row) for row in rows]
        if crc is None and self.batches:
            self.crc = self._crc_before()
        quarantined = connection.execute(query("audit/quarantined_of_segment"), self._parameters)
        self._quarantined = {seq for (seq,) in quarantined}
        self._frames: list[tuple[int, int, int]] = []  # seq, received_us, expected rows or UNREADABLE
        self._holes: list[tuple[int, int, bool]] = []  # missing seqs, and whether they were omitted on purpose
        self._committed = 0  # how many of the frames are in batches
        self._shared: list[tuple[_Batch, slice]] = []  # batches with duplicates, and their frames

    def _crc_before(self) -> int | None:
        """Return the checksum of all records before this segment, by the ledger; None: it is not known."""
        found = self._connection.execute(
            query("audit/digest_before"), self._parameters | {"stream": self._report.stream}
        ).fetchone()
        if found is None:
            return 0  # the stream begins here
        return int(found[0], 16) if found[0] else None

    def check(self) -> None:
        """Read the segment batch by batch while the server counts; then compare."""
        times = [(batch.first_ts, batch.last_ts) for batch in self.batches if batch.first_ts is not None]
        with ThreadPoolExecutor(1) as beside:
            counting = beside.submit(self._count, times)
            self._check_journal()
            counted = counting.result()
        for first_seq, last_seq, meant in self._holes:  # only now, because the server answers one question at a time
            note_lost(self._connection, self._report, first_seq, last_seq, meant=meant)
        if counted is not None and self._frames:
            self._check_table(counted)

    def _check_journal(self) -> None:
        records = self._records()
        reached = 0
        for batch in self.batches:
            if batch.offset_start != reached:
                self._note("ledger hole", f"{self.name}: bytes {reached} to {batch.offset_start} are in no batch")
            self._check_batch(batch, records)
            reached = batch.offset_end
        for record in records:
            self.unfinished = True
            if record.kind == RecordKind.FRAME:
                self._report.frames += 1
                self._report.pending += 1
        if self._reader.corrupt_bytes:
            self._note("damage", f"{self.name}: {self._reader.corrupt_bytes} bytes are no record")
        if (torn := self._torn_bytes()) > 0:
            self._report.notes.append(f"{self.name}: {torn} bytes at its end are no whole record, or came meanwhile")
        self._reader.close()
        if (noted := sum(one.quarantined - one.unlisted_frames for one in self.batches)) != len(self._quarantined):
            self._note(
                "quarantine", f"{self.name}: {noted} frames should be in quarantine, there are {len(self._quarantined)}"
            )

    def _torn_bytes(self) -> int:
        try:
            return self._reader.backlog_bytes()
        except FileNotFoundError:  # compressed meanwhile, so it was complete
            return 0

    def _records(self) -> Iterator[Record]:
        """Yield the segment's records; note the rows their frames should make, and check their numbers."""
        while not self._reader.finished:
            at = self._reader.offset
            records = self._reader.read(READ_BYTES)
            if not records and self._reader.offset == at:
                return  # the writer is here
            frames = [record for record in records if record.kind == RecordKind.FRAME]
            made = rows_of_frames([frame.payload for frame in frames])
            self._frames += [
                (frame.seq, frame.received_us, 0 if frame.seq in self._quarantined else rows)
                for frame, rows in zip(frames, made, strict=True)
            ]
            self._advance(self._reader.offset - at)
            for record in records:
                if self.before is not None:
                    self._check_succession(self.before, record)
                elif record.kind == RecordKind.CONNECTED:
                    self.standby_run = str(json.loads(record.payload).get("pair", ""))
                self.before = record
                yield record

    def _check_succession(self, before: Record, record: Record) -> None:
        """Report what is missing between two records, and where the ingester ended without a disconnect."""
        facts = json.loads(record.payload) if record.kind == RecordKind.CONNECTED else {}
        if record.seq <= before.seq:
            self._note(
                "records out of order",
                f"{self.name}: seq {record.seq} follows {before.seq}: it seems to be of another journal",
            )
        elif record.seq != before.seq + 1:
            # A process that does not know the ledger omits numbers, and its first connection records that.
            self._holes.append((before.seq + 1, record.seq - 1, "after_seq" in facts))
        if record.kind != RecordKind.CONNECTED:
            return
        last_run, self.standby_run = self.standby_run, str(facts.get("pair", ""))
        goes_on = self.standby_run and self.standby_run == last_run  # the other connection of the same process was up
        if before.kind != RecordKind.DISCONNECTED and not goes_on:
            ended, began = (utc_of_us(one.received_us) for one in (before, record))
            self._report.notes.append(
                f"ended without a word after seq {before.seq}, received {_instant(ended)}; next is seq {record.seq}, "
                f"{_instant(began)}: if the power was cut, what came in the last TICKLINE_JOURNAL_FSYNC_MS is lost"
            )

    def _check_batch(self, batch: _Batch, records: Iterator[Record]) -> None:
        """Compare a batch with the records of its range."""
        frames, crc, ended = 0, self.crc, False
        for record in records:
            frames += record.kind == RecordKind.FRAME
            if crc is not None:
                crc = google_crc32c.extend(crc, record.payload)
            if record.end_offset >= batch.offset_end:
                ended = record.end_offset == batch.offset_end
                break
        if batch.duplicates or batch.unlisted_updates or batch.unlisted_frames:
            self._shared.append((batch, slice(self._committed, self._committed + frames)))
        self._committed += frames
        self._report.frames += frames
        self._report.committed += frames
        self._report.ticks += batch.ticks
        self._report.rejected += batch.rejected
        self._report.quarantined += batch.quarantined
        self._report.duplicates += batch.duplicates
        self._report.unlisted_updates += batch.unlisted_updates
        self._report.unlisted_frames += batch.unlisted_frames
        place = f"{self.name}: batch {batch.batch_id}"
        if not ended:
            self._note("journal behind the ledger", f"{place} ends at {batch.offset_end}, where no record does")
        elif frames != batch.frames:
            self._note("frames differ", f"{place} has {batch.frames} frames, the journal {frames}")
        elif crc is not None and f"{crc:08x}" != batch.digest:
            self._note("checksum", f"{place} was made of other bytes than the journal has")
        self.crc = int(batch.digest, 16) if batch.digest else None

    def _count(self, times: list[tuple[datetime, datetime]]) -> Integers | None:
        """Count the rows of each frame within the time of the batches; None if there is nothing to look for.

        Shape (frames, 4): seq, received_us, ticks, instruments, ordered by seq.
        """
        if not times:
            return None
        spans = {"first_ts": min(first for first, _ in times), "last_ts": max(last for _, last in times)}
        dropped = self._connection.execute(
            query("shared/dropped_days"),
            {"start": spans["first_ts"], "end": spans["last_ts"] + timedelta(microseconds=1)},
        ).fetchall()
        if dropped:
            days = ", ".join(str(day) for day, _ in dropped)
            self._report.notes.append(f"{self.name}: ticks of {days} were dropped by retention and are not looked for")
            return None
        with self._connection.cursor().copy(query("audit/ticks_by_frame"), spans) as copy:
            data = b"".join(bytes(part) for part in copy)
        rows = np.frombuffer(data, _COUNTED, (len(data) - _COPY_HEADER_BYTES) // _COUNTED.itemsize, _COPY_HEADER_BYTES)
        counted = np.stack([rows[name].astype(np.int64) for name in _COUNTED_NAMES], axis=1)
        return counted[np.argsort(counted[:, 0], kind="stable")]

    def _check_table(self, counted: Integers) -> None:
        """Compare the expected rows of frames with the rows in the table."""
        refused = dict(self._connection.execute(query("audit/rejected_by_frame"), self._parameters).fetchall())
        seqs, received, made = np.array(self._frames, np.int64).reshape(len(self._frames), 3).T
        expected = np.maximum(made, 0)
        expected = expected - np.array([refused.get(seq, 0) for seq in seqs.tolist()] if refused else 0, np.int64)
        order = np.argsort(seqs, kind="stable")
        near = order[np.minimum(np.searchsorted(seqs, counted[:, 0], sorter=order), len(order) - 1)]
        is_ours = (seqs[near] == counted[:, 0]) & (received[near] == counted[:, 1])  # not of another collector
        ours, places = counted[is_ours], near[is_ours]
        for seq, _, ticks, instruments in ours[ours[:, 2] > ours[:, 3]].tolist():
            self._note("doubled", f"{self.name}: seq {seq} has {ticks} rows of {instruments} instruments")
        for seq in ours[places >= self._committed, 0].tolist():
            self._note("beyond the ledger", f"{self.name}: seq {seq} has rows and is in no batch")
        found = np.zeros_like(expected)
        found[places] = ours[:, 2]
        alone = np.arange(len(seqs)) < self._committed
        for batch, part in self._shared:
            alone[part] = False
            unknown = batch.unlisted_frames - np.count_nonzero(made[part] == UNREADABLE)
            self._check_shared(batch, seqs[part], expected[part], found[part], absent_max=max(int(unknown), 0))
        self._check_alone(seqs, expected, found, alone & (found != expected))

    def _check_alone(self, seqs: Integers, expected: Integers, found: Integers, wrong: Mask) -> None:
        for seq, made, ticks in zip(*(values[wrong].tolist() for values in (seqs, expected, found)), strict=True):
            kind = "missing" if ticks < made else "too many"
            self._note(kind, f"{self.name}: seq {seq} should have {made} rows, the table has {ticks}")

    def _check_shared(
        self, batch: _Batch, seqs: Integers, expected: Integers, found: Integers, *, absent_max: int
    ) -> None:
        """Compare the rows of a batch as a sum, where it is not known what each frame should have.

        Two connections brought the same updates, or side tables did not keep what was refused. No frame may have too
        many. A frame that can be read and was quarantined without a row has none; there are `absent_max` such frames.
        """
        ticks, made = int(found.sum()), int(expected.sum())
        missing = made - ticks - batch.duplicates - batch.unlisted_updates
        absent = np.sort(expected[found == 0])[::-1][:absent_max]
        if not 0 <= missing <= absent.sum():
            kind = "missing" if missing > 0 else "too many"
            place = f"{self.name}: batch {batch.batch_id}"
            self._note(kind, f"{place} should have {ticks + missing} rows, the table has {ticks}")
        for seq in seqs[found > expected].tolist():
            self._note("too many", f"{self.name}: seq {seq} has more rows than updates")

    def _note(self, kind: str, text: str) -> None:
        self._report.note(kind, text)
