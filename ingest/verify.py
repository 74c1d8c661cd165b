"""Verify: the journal against the ledger against the table, frame by frame. Reads only.

    received = journalled = committed + pending          frames
    ticks of a committed frame = its updates - rejected  rows of the table, each once
    ticks of a batch = its updates - rejected - duplicates   where two connections brought the same

What a frame should have made is found by decoding it again; it does not depend on what came before, but for
what the other of two connections had said: how many updates that were, the ledger says of each batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import google_crc32c
import psycopg

from ingest.batches import time_of
from ingest.journal import segment_name, segments_of
from ingest.journal_reader import JournalReader
from ingest.model import Record, RecordKind
from ingest.rows import rows_of_frames
from sql import query
from sql.database import translate

READ_BYTES = 2**20
SEQ_MAX = 2**63 - 1
PROBLEMS_MAX = 20  # of one kind in one stream that are listed; all are counted


@dataclass(slots=True)
class StreamReport:
    """What was found in one stream of a journal."""

    collector: str
    stream: str
    segments: int = 0
    frames: int = 0
    committed: int = 0
    pending: int = 0
    quarantined: int = 0
    ticks: int = 0  # rows that the committed frames should have
    rejected: int = 0  # updates and rows that made no row, with a reason on record
    duplicates: int = 0  # updates that the other of two connections had brought
    problem_counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # where it ended without a word: what may have been lost there

    @property
    def adds_up(self) -> bool:
        """Whether nothing is missing, nothing is there twice and nothing is damaged."""
        return not self.problem_counts

    def note(self, kind: str, text: str) -> None:
        """Add a problem."""
        self.problem_counts[kind] = self.problem_counts.get(kind, 0) + 1
        if self.problem_counts[kind] <= PROBLEMS_MAX:
            self.problems.append(f"{kind}: {text}")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"adds_up": self.adds_up}


@dataclass(frozen=True, slots=True)
class _Batch:
    """A row of the ledger."""

    batch_id: int
    offset_start: int
    offset_end: int
    frames: int
    ticks: int
    rejected: int
    quarantined: int
    duplicates: int
    first_ts: Any
    last_ts: Any
    digest: str


def streams_of(journal: Path) -> Iterator[tuple[str, Path]]:
    """Yield collector and folder of every stream under the journal's folder."""
    for collector in sorted(path for path in journal.glob("*") if path.is_dir()):
        for stream in sorted(path for path in collector.iterdir() if path.is_dir()):
            yield collector.name, stream


def verify_stream(
    connection: psycopg.Connection[Any],
    collector: str,
    folder: Path,
    *,
    day: date | None = None,
    show: Callable[[str], None] = lambda _: None,
) -> StreamReport:
    """Compare one stream with the database.

    Parameters
    ----------
    connection
        Any connection; nothing is written.
    collector, folder
        Whose stream, and where it is.
    day
        Only segments of this Indian day; None: all that are there.
    show
        Called with the name of each segment before it is read.

    Raises
    ------
    StoreError
        If the database cannot be read.
    """
    report = StreamReport(collector, folder.name)
    crc: int | None = None
    before: Record | None = None
    pair = ""  # of the last connection
    unfinished = ""  # name of the segment before, if its end is not committed
    for path in segments_of(folder):
        if day is not None and not path.name.startswith(f"{day:%Y%m%d}"):
            continue
        show(segment_name(path))
        report.segments += 1
        with _translated():
            segment = _Segment(connection, report, path, crc, before, pair=pair)
            segment.check()
        if unfinished and segment.batches:
            report.note("ledger hole", f"{unfinished}: its last records are in no batch, later ones are")
        unfinished = segment.name if segment.unfinished else ""
        crc, before, pair = segment.crc, segment.before, segment.pair
    if before is not None and day is None:
        with _translated():
            _note_lost(connection, report, before.seq + 1, SEQ_MAX)
    return report


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as exc:
        raise translate(exc) from exc


def _note_lost(connection: psycopg.Connection[Any], report: StreamReport, first_seq: int, last_seq: int) -> None:
    """Say which records of a range the ledger has and the journal not; of an inner range, which nobody has."""
    span = {"first_seq": first_seq, "last_seq": last_seq}
    row = connection.execute(
        query("batches_of_records"), {"collector": report.collector, "stream": report.stream} | span
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
    elif last_seq < SEQ_MAX:
        report.note("records missing", f"seq {first_seq} to {last_seq} are neither in the journal nor in the ledger")


def _instant(ts: datetime | None) -> str:
    return f"{ts.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC" if ts else "no time"


class _Segment:
    """One segment and its rows of the ledger."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        report: StreamReport,
        path: Path,
        crc: int | None,
        before: Record | None,
        *,
        pair: str,
    ) -> None:
        self.crc, self.before, self.pair = crc, before, pair
        self.unfinished = False
        self._connection, self._report, self._path = connection, report, path
        self.name = segment_name(path)
        self._parameters = {"collector": report.collector, "segment": f"{report.stream}/{self.name}"}
        rows = connection.execute(query("ledger_of_segment"), self._parameters).fetchall()
        self.batches = [_Batch(*row) for row in rows]
        quarantined = connection.execute(query("quarantined_of_segment"), self._parameters)
        self._quarantined = {seq for (seq,) in quarantined}
        self._expected: dict[tuple[int, int], int] = {}  # frame -> rows that it should have
        self._pending: set[tuple[int, int]] = set()
        self._shared: list[tuple[_Batch, list[tuple[int, int]]]] = []  # batches with duplicates, and their frames

    def check(self) -> None:
        """Read the segment along its batches, then the table."""
        reader = JournalReader(lambda: [self._path], follow=False)
        records = self._records(reader)
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
                self._pending.add((record.seq, record.received_us))
        if reader.corrupt_bytes:
            self._note("damage", f"{self.name}: {reader.corrupt_bytes} bytes are no record")
        reader.close()
        self._check_table()

    def _records(self, reader: JournalReader) -> Iterator[Record]:
        """Yield the segment's records and watch their numbers."""
        while not reader.finished:
            for record in reader.read(READ_BYTES):
                if self.before is not None:
                    self._check_succession(self.before, record)
                elif record.kind == RecordKind.CONNECTED:
                    self.pair = str(json.loads(record.payload).get("pair", ""))
                self.before = record
                yield record

    def _check_succession(self, before: Record, record: Record) -> None:
        """Say what is missing between two records, and where the ingester ended without a word."""
        if record.seq != before.seq + 1:
            _note_lost(self._connection, self._report, before.seq + 1, record.seq - 1)
        if record.kind != RecordKind.CONNECTED:
            return
        pair, self.pair = self.pair, str(json.loads(record.payload).get("pair", ""))
        goes_on = self.pair and self.pair == pair  # the other connection of the same process was there
        if before.kind != RecordKind.DISCONNECTED and not goes_on:
            ended, began = (time_of(one.received_us) for one in (before, record))
            self._report.notes.append(
                f"ended without a word after seq {before.seq}, received {_instant(ended)}; next is seq {record.seq}, "
                f"{_instant(began)}: if the power was cut, what came in the last TICKLINE_JOURNAL_FSYNC_MS is lost"
            )

    def _check_batch(self, batch: _Batch, records: Iterator[Record]) -> None:
        """Compare a batch with the records of its range."""
        found: list[Record] = []
        crc = self.crc
        ended = False
        for record in records:
            if record.kind == RecordKind.FRAME:
                found.append(record)
            if crc is not None:
                crc = google_crc32c.extend(crc, record.payload)
            if record.end_offset >= batch.offset_end:
                ended = record.end_offset == batch.offset_end
                break
        made = rows_of_frames([record.payload for record in found])
        self._expected |= {
            (record.seq, record.received_us): 0 if record.seq in self._quarantined else rows
            for record, rows in zip(found, made, strict=True)
        }
        frames = len(found)
        self._report.frames += frames
        self._report.committed += frames
        self._report.ticks += batch.ticks
        self._report.rejected += batch.rejected
        self._report.quarantined += batch.quarantined
        self._report.duplicates += batch.duplicates
        if batch.duplicates:
            self._shared.append((batch, [(record.seq, record.received_us) for record in found]))
        place = f"{self.name}: batch {batch.batch_id}"
        if not ended:
            self._note("journal behind the ledger", f"{place} ends at {batch.offset_end}, where no record does")
        elif frames != batch.frames:
            self._note("frames differ", f"{place} has {batch.frames} frames, the journal {frames}")
        elif crc is not None and f"{crc:08x}" != batch.digest:
            self._note("checksum", f"{place} was made of other bytes than the journal has")
        self.crc = int(batch.digest, 16) if batch.digest else None

    def _check_table(self) -> None:
        """Compare the rows that frames should have with those that are there."""
        if (noted := sum(batch.quarantined for batch in self.batches)) != len(self._quarantined):
            self._note(
                "quarantine", f"{self.name}: {noted} frames should be in quarantine, there are {len(self._quarantined)}"
            )
        times = [(batch.first_ts, batch.last_ts) for batch in self.batches if batch.first_ts is not None]
        if not times:
            return
        spans = {"first_ts": min(first for first, _ in times), "last_ts": max(last for _, last in times)}
        dropped = self._connection.execute(
            query("dropped_days"), {"start": spans["first_ts"], "end": spans["last_ts"] + timedelta(microseconds=1)}
        ).fetchall()
        if dropped:
            days = ", ".join(str(day) for day, _ in dropped)
            self._report.notes.append(f"{self.name}: ticks of {days} were dropped by retention and are not looked for")
            return
        refused = dict(self._connection.execute(query("rejected_by_frame"), self._parameters).fetchall())
        found: dict[tuple[int, int], int] = {}
        for seq, received_us, ticks, instruments in self._connection.execute(query("ticks_by_frame"), spans):
            frame = (seq, received_us)
            found[frame] = ticks
            if frame not in self._expected and frame not in self._pending:
                continue  # another collector's
            if ticks > instruments:
                self._note("doubled", f"{self.name}: seq {seq} has {ticks} rows of {instruments} instruments")
            if frame in self._pending:
                self._note("beyond the ledger", f"{self.name}: seq {seq} has rows and is in no batch")
        for batch, frames in self._shared:
            self._check_shared(batch, frames, found, refused)
        for (seq, received_us), expected in self._expected.items():
            ticks = found.get((seq, received_us), 0)
            if ticks != expected - refused.get(seq, 0):
                kind = "missing" if ticks < expected else "too many"
                self._note(kind, f"{self.name}: seq {seq} should have {expected} rows, the table has {ticks}")

    def _check_shared(
        self,
        batch: _Batch,
        frames: list[tuple[int, int]],
        found: dict[tuple[int, int], int],
        refused: dict[int, int],
    ) -> None:
        """Compare the rows of a batch to which two connections brought the same: frame by frame none is too many."""
        expected = {frame: self._expected.pop(frame) - refused.get(frame[0], 0) for frame in frames}
        ticks = sum(found.get(frame, 0) for frame in frames)
        if ticks + batch.duplicates != (made := sum(expected.values())):
            kind = "missing" if ticks + batch.duplicates < made else "too many"
            place = f"{self.name}: batch {batch.batch_id}"
            self._note(kind, f"{place} should have {made - batch.duplicates} rows, the table has {ticks}")
        for frame in frames:
            if found.get(frame, 0) > expected[frame]:
                self._note("too many", f"{self.name}: seq {frame[0]} has more rows than updates")

    def _note(self, kind: str, text: str) -> None:
        self._report.note(kind, text)
