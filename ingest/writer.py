"""Writer: one transaction for each batch, the ledger row and the binary COPY together.

Owns the write connection and the SQL of `sql/queries/` that it runs. Exactly once comes from
here: a batch is the records of one journal segment from one offset to another; its ledger row
and its ticks are committed together or not at all, and the ledger's unique (collector, segment,
offset_start) refuses a second writer of the same records.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.types.json import Jsonb

from ingest.batch import COPY_HEADER, COPY_TRAILER, RowBuffer, encode_rows, nullify
from ingest.journal import Position
from ingest.model import TICK_COLUMN_NAMES, InstrumentRef
from ingest.normalise import VolumeGap
from sql import query
from sql.database import check_schema, connect, translate
from sql.errors import StoreError

log = logging.getLogger(__name__)

COPY_TICKS = f"copy ticks ({', '.join(TICK_COLUMN_NAMES)}) from stdin (format binary)"


@dataclass(frozen=True, slots=True)
class QuarantinedFrame:
    """A frame that does not parse: kept whole, with the reason."""

    seq: int
    end_offset: int
    received_us: int
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class RejectedTick:
    """An update that makes no row, and why."""

    seq: int
    end_offset: int
    instrument_id: int
    tick: dict[str, Any]
    reason: str
    sqlstate: str | None = None


@dataclass(slots=True)
class Batch:
    """The rows of a range of one journal segment, and the account of that range."""

    segment: str
    offset_start: int
    rows: RowBuffer
    offset_end: int = 0
    first_seq: int = 0
    last_seq: int = 0
    frames: int = 0
    digest: str = ""
    quarantined: list[QuarantinedFrame] = field(default_factory=list)
    rejected: list[RejectedTick] = field(default_factory=list)
    gaps: list[VolumeGap] = field(default_factory=list)
    checkpoint: bytes | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a stream goes on, as the database knows it."""

    committed: Position | None
    digest: str
    checkpoint: Position | None
    state: bytes

    def from_start(self) -> Resume:
        """Resume without the checkpoint: for a source that is read again from its begin."""
        return replace(self, checkpoint=None, state=b"")


class Writer:
    """The one connection that writes a collector's ticks.

    Parameters
    ----------
    url
        Database URL.
    collector
        Whose ledger this is. A second writer of the same collector is refused.
    """

    def __init__(self, url: str, collector: str) -> None:
        self.collector = collector
        self._days: set[int] = set()  # days whose partitions exist
        self._active: set[int] = set()  # instruments that have ticked before
        self._connection = connect(url, autocommit=True, application_name=f"tickline {collector}")
        try:
            check_schema(self._connection)
            self._connection.execute("set synchronous_commit = off")  # the journal replays a lost commit
            self._lock()
            self._active.update(row[0] for row in self._connection.execute(query("active_instruments")))
        except psycopg.Error as exc:
            self._connection.close()
            raise translate(exc) from exc
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the collector is then free for another writer."""
        self._connection.close()

    def _lock(self) -> None:
        row = self._connection.execute(query("lock_collector"), {"collector": self.collector}).fetchone()
        assert row is not None
        if not row[0]:
            holder = self._connection.execute(
                query("collector_holder"), {"application_name": f"tickline {self.collector}"}
            ).fetchone()
            who = f"server process {holder[0]} since {holder[1]:%Y-%m-%d %H:%M:%S} UTC" if holder else "another"
            raise StoreError(
                f"collector {self.collector!r} is already writing to this database ({who}): stop it, or "
                "choose another TICKLINE_COLLECTOR"
            )

    def resume(self, stream: str) -> Resume:
        """Read where a stream's ledger ends and its newest checkpoint."""
        parameters = {"collector": self.collector, "stream": stream}
        try:
            ledger = self._connection.execute(query("committed_position"), parameters).fetchone()
            checkpoint = self._connection.execute(query("read_checkpoint"), parameters).fetchone()
        except psycopg.Error as exc:
            raise translate(exc) from exc
        return Resume(
            committed=Position(ledger[0], ledger[1]) if ledger else None,
            digest=ledger[2] if ledger else "",
            checkpoint=Position(checkpoint[0], checkpoint[1]) if checkpoint else None,
            state=bytes(checkpoint[2]) if checkpoint else b"",
        )

    def digests(self, stream: str) -> list[tuple[int, str]]:
        """Read the end offset and digest of every committed batch of a stream, in order."""
        parameters = {"collector": self.collector, "stream": stream}
        try:
            return self._connection.execute(query("committed_digests"), parameters).fetchall()
        except psycopg.Error as exc:
            raise translate(exc) from exc

    def register(self, instrument_keys: Sequence[str], day: date) -> list[InstrumentRef]:
        """Return the instruments that the keys mean on a day; unknown keys get a row of their own."""
        try:
            rows = self._connection.execute(
                query("register_instruments"), {"instrument_keys": list(instrument_keys), "day": day}
            ).fetchall()
        except psycopg.Error as exc:
            raise translate(exc) from exc
        return [InstrumentRef(row[0], row[1]) for row in rows]

    def write(self, batch: Batch, stream: str) -> None:
        """Commit a batch whole, or raise and leave nothing of it.

        Raises
        ------
        Retryable
            The database is away or busy; the same batch may be written later.
        Rejected
            The database will never take one of the rows.
        StoreError
            Anything else.
        """
        values = batch.rows.values()
        nullify(values)
        try:
            with self._connection.transaction():
                self._write_ledger(batch, stream, values)
                if len(values):
                    self._prepare(values)
                    with self._connection.cursor().copy(COPY_TICKS) as copy:
                        copy.write(COPY_HEADER)
                        for block in encode_rows(values):
                            copy.write(block)
                        copy.write(COPY_TRAILER)
                self._write_refused(batch, stream)
                if batch.checkpoint is not None:
                    self._write_checkpoint(stream, Position(batch.segment, batch.offset_end), batch.checkpoint)
        except psycopg.Error as exc:
            raise translate(exc) from exc

    def checkpoint(self, stream: str, position: Position, state: bytes) -> None:
        """Store the state at a committed position, so that the next start need not rebuild it."""
        try:
            self._write_checkpoint(stream, position, state)
        except psycopg.Error as exc:
            raise translate(exc) from exc

    def _write_checkpoint(self, stream: str, position: Position, state: bytes) -> None:
        self._connection.execute(
            query("write_checkpoint"),
            {
                "collector": self.collector,
                "stream": stream,
                "segment": position.segment,
                "end_offset": position.offset,
                "state": state,
            },
        )

    def _write_ledger(self, batch: Batch, stream: str, values: Any) -> None:
        times = values[:, 0] if len(values) else None
        self._connection.execute(
            query("write_ledger"),
            {
                "collector": self.collector,
                "segment": f"{stream}/{batch.segment}",
                "offset_start": batch.offset_start,
                "offset_end": batch.offset_end,
                "first_seq": batch.first_seq,
                "last_seq": batch.last_seq,
                "frames": batch.frames,
                "ticks": batch.rows.rows,
                "rejected": len(batch.rejected),
                "quarantined": len(batch.quarantined),
                "first_ts": None if times is None else _time(times.min()),
                "last_ts": None if times is None else _time(times.max()),
                "digest": batch.digest,
            },
        )

    def _prepare(self, values: Any) -> None:
        """Make room for days and note instruments that this database has not seen before."""
        first, last = values[:, 0].min(), values[:, 0].max()
        days = set(range(int(first // 86_400e6), int(last // 86_400e6) + 1))
        if not days <= self._days:
            self._connection.execute(query("ensure_partitions"), {"start": _time(first), "end": _time(last)})
            self._days |= days
        fresh = set(map(int, values[:, 1])) - self._active
        if fresh:
            self._connection.execute(
                query("note_active"), {"instrument_ids": sorted(fresh), "first_seen": _time(first)}
            )
            self._active |= fresh

    def _write_refused(self, batch: Batch, stream: str) -> None:
        base = {"collector": self.collector, "segment": f"{stream}/{batch.segment}"}
        if batch.quarantined:
            self._connection.cursor().executemany(
                query("quarantine_frame"),
                [
                    base
                    | {
                        "end_offset": frame.end_offset,
                        "seq": frame.seq,
                        "received_at": _time(frame.received_us),
                        "reason": frame.reason,
                        "payload": frame.payload,
                    }
                    for frame in batch.quarantined
                ],
            )
        if batch.rejected:
            self._connection.cursor().executemany(
                query("reject_tick"),
                [
                    base
                    | {
                        "end_offset": tick.end_offset,
                        "seq": tick.seq,
                        "instrument_id": tick.instrument_id,
                        "tick": Jsonb(tick.tick, dumps=lambda value: json.dumps(value, default=str)),
                        "sqlstate": tick.sqlstate,
                        "reason": tick.reason,
                    }
                    for tick in batch.rejected
                ],
            )

        if batch.gaps:
            self._connection.cursor().executemany(
                query("record_gap"),
                [
                    {
                        "collector": self.collector,
                        "connection": stream,
                        "instrument_id": gap.instrument_id,
                        "started_at": _time(gap.started_ms * 1000),
                        "ended_at": _time(gap.ended_ms * 1000),
                        "reason": "reconnected",
                        "volume": gap.volume,
                    }
                    for gap in batch.gaps
                ],
            )


def refresh_bars(url: str, start: datetime, end: datetime) -> None:
    """Make the bars of the half-open range anew, on a connection of its own."""
    with connect(url, autocommit=True, application_name="tickline bars") as connection:
        try:
            connection.execute(query("refresh_bars"), {"from_ts": start, "to_ts": end})
        except psycopg.Error as exc:
            raise translate(exc) from exc


def _time(epoch_us: float) -> datetime:
    return datetime.fromtimestamp(epoch_us / 1e6, UTC)
