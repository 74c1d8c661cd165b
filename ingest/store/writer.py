"""Writer: commit each batch in one transaction, its ledger row together with its binary COPY.

Owns the write connection and runs the queries of `sql/queries/` on it. It guarantees exactly-once
writes: a batch holds the records of one journal segment from one offset to another; its place in the
ledger and its ticks are committed together or not at all. A batch extends the ledger row that ends
where it starts, or begins a row where no other row reaches: a second writer of the same records is refused.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import psycopg

from ingest.database.connections import NOTICE_A_DEAD_PEER, break_off, check_schema, connect, translated
from ingest.database.prepared import PreparedStatements, widen
from ingest.database.queries import query
from ingest.errors import StoreError, TicklineError
from ingest.market.shown_time import ist
from ingest.market.time import DAY_US, MINUTE_US, utc_of_us
from ingest.model.durations import Durations
from ingest.model.records import Position
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from ingest.store import lease
from ingest.store.bar_refresh import touching
from ingest.store.batch import Batch, RejectedTick
from ingest.store.copy_format import encode_rows
from ingest.store.ledger import LEDGER_KEY, Ledger, Values
from ingest.store.ledger_row import LedgerRow
from ingest.store.registration import register
from ingest.store.row_buffer import late_rows
from ingest.store.side_limits import Findings, SideLimits, within_limits
from ingest.store.side_tables import write_findings
from ingest.store.tick_tables import COPY_LATE_TICKS, COPY_TICKS, copy_depth, copy_rows, make_room, note_active

log = logging.getLogger(__name__)

# The server releases the lock of a writer that ended only a moment later; a running writer holds its lock longer.
LOCK_SECONDS_MAX, LOCK_POLL_S = 3.0, 0.05
# A row this far behind the rows before it is late and committed apart. The live feed is at most seconds behind,
# and rebuilding the bars of a few more minutes is quick.
LATE_US = 5 * MINUTE_US


class CollectorInUseError(StoreError):
    """Another process writes under the same collector name."""


class RecordsTakenError(StoreError):
    """The ledger has records at the place of a batch: the same, which were committed before, or others."""

    def __init__(self, collector: str, place: str) -> None:
        super().__init__(
            f"collector {collector!r} has other records at {place}: two journals were written under one name"
        )


class LedgerBehindError(TicklineError):
    """The database has lost committed batches, for example after a failover to a standby that lagged."""


class Writer:
    """The one connection that writes a collector's ticks, made by `reconnect`. Not thread-safe; see `RetryingWriter`.

    Parameters
    ----------
    url
        Database URL.
    collector
        Name of the collector that owns the ledger. A second writer with the same name is refused.
    make_ready
        Called before each connection; prepares the database for writing.
    side_limits
        How many rejected ticks and quarantined frames a day may keep.
    lease_within_s
        How long a connection waits for a lock that another process holds, ending the session of one that is silent,
        seconds; the holder must `speak` then. None: the lock of a process that runs is never taken.

    Attributes
    ----------
    left_out
        Rows that side tables did not keep in this run, by relation, because their limit was reached.
    commits, copies
        How long each batch took that was committed, from its first statement to the answer to its commit, and how long
        its COPY of ticks alone.
    """

    def __init__(
        self,
        url: str,
        collector: str,
        make_ready: Callable[[], None] = lambda: None,
        *,
        side_limits: SideLimits | None = None,
        lease_within_s: float | None = None,
    ) -> None:
        self.collector = collector
        self._lease_within_s = lease_within_s
        self._url = url
        self._make_ready = make_ready
        self._side_limits = side_limits or SideLimits()
        self.left_out: Counter[str] = Counter()
        self.commits, self.copies = Durations(), Durations()
        self._days: set[int] = set()  # days whose partitions exist
        self._active: set[int] = set()  # instruments that have ticked before
        self._newest_us: dict[str, float] = {}  # newest ts written of each stream, epoch microseconds
        self._committed: dict[str, Position] = {}  # last position of each stream that the database confirmed
        self._newest_rows: dict[str, LedgerRow] = {}  # newest ledger row of each stream that this writer has written
        self._behind: dict[str, str] = {}  # streams whose commits the database has lost -> error text
        self._opened: psycopg.Connection[tuple[Any, ...]] | None = None
        self._backend_pid: int | None = None

    def __enter__(self) -> Self:
        self.reconnect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the collector is then free for another writer."""
        if self._opened is not None:
            self._opened.close()

    @property
    def connected(self) -> bool:
        """Whether a connection was made; it may be broken by now."""
        return self._opened is not None

    @property
    def _connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        assert self._opened is not None, "connect first"
        return self._opened

    @property
    def ledger(self) -> Ledger:
        """The collector's ledger over the current connection."""
        return Ledger(self._connection, self.collector)

    def speak(self) -> None:
        """Say to the server that this process lives, as the holder of a lease must. Raises psycopg.Error."""
        if self._opened is not None:
            self._opened.execute("select 1")

    def abort(self) -> None:
        """Break the connection from another thread, so that a thread waiting on it fails at once."""
        if self._opened is not None:
            break_off(self._opened)

    def reconnect(self) -> None:
        """Connect, or replace a broken connection; end its server process, which may not have noticed the break.

        Raises
        ------
        ConfigError
            If the database uses another engine than the settings say.
        CollectorInUseError
            If another process writes under this collector name.
        StoreError
            If the database is away, or its schema does not fit this program.
        """
        self.close()
        self._days.clear()
        self._active.clear()
        self._make_ready()
        self._opened = self._connect(self._backend_pid)
        self._often = PreparedStatements(self._opened)
        for stream, position in list(self._committed.items()):
            committed = self.ledger.resume(stream).committed
            if committed is None or committed < position:
                del self._committed[stream]
                self._newest_rows.pop(stream, None)
                self._behind[stream] = (
                    f"database has lost committed batches up to {position.segment}:{position.offset} "
                    f"(it ends at {committed}): they are written again from the journal"
                )

    def _connect(self, broken_pid: int | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        connection = connect(
            self._url, autocommit=True, application_name=f"tickline {self.collector}", **NOTICE_A_DEAD_PEER
        )
        try:
            with translated():
                check_schema(connection)
                # A confirmed commit must survive a server crash: a running consumer never writes it again.
                connection.execute("set synchronous_commit = on")
                if broken_pid is not None:
                    connection.execute(
                        query("ledger/end_backend"),
                        {"pid": broken_pid, "application_name": f"tickline {self.collector}"},
                    )
                self._lock(connection)
                widen(connection)
                connection.execute(query("ledger/settle_late_ticks"))  # left by a crash between two transactions
                self._active.update(row[0] for row in connection.execute(query("ledger/active_instruments")))
                pid = connection.execute("select pg_backend_pid()").fetchone()  # libpq knows a pooler's pid only
        except BaseException:
            connection.close()
            raise
        self._backend_pid = pid[0] if pid else None
        return connection

    def _lock(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        if self._lease_within_s is not None and lease.take_within(
            connection, lease.COLLECTOR, self.collector, self._lease_within_s
        ):
            return
        deadline = time.monotonic() + (LOCK_SECONDS_MAX if self._lease_within_s is None else 0.0)
        while connection.execute(query("ledger/lock_collector"), {"collector": self.collector}).fetchone() != (True,):
            if time.monotonic() < deadline:
                time.sleep(LOCK_POLL_S)
                continue
            holder = connection.execute(
                query("ledger/collector_holder"), {"application_name": f"tickline {self.collector}"}
            ).fetchone()
            who = f"server process {holder[0]} since {ist(holder[1])}" if holder else "another"
            raise CollectorInUseError(
                f"collector {self.collector!r} is already writing to this database ({who}): stop it, or "
                "choose another TICKLINE_COLLECTOR"
            )

    def register(self, instrument_keys: Sequence[str], day: date, unknown_max: int) -> list[InstrumentRef]:
        """Return the instruments that keys mean on a day; see `registration.register`."""
        with translated():
            return register(self._connection, instrument_keys, day, unknown_max=unknown_max)

    def write(self, batch: Batch, stream: str) -> None:
        """Commit a batch exactly once: a batch that is already in the ledger is not written again.

        A row that the database rejects goes to `tickline.rejected_ticks` with the reason and is
        added to `batch.rejected`; the other rows are written.

        Raises
        ------
        Retryable
            If the database is away or busy; the same batch may be written later.
        StoreError
            If the write fails for any other reason that is not a bad row.
        LedgerBehindError
            If the database has lost earlier batches of this stream: write them from the journal first.
        """
        if stream in self._behind:
            raise LedgerBehindError(self._behind.pop(stream))
        began_s = time.monotonic()
        blocks, values = batch.rows.encode(), batch.rows.values()
        late = late_rows(batch.rows, newest_us=self._newest_us.get(stream, -math.inf), behind_us=LATE_US)
        parts = {COPY_TICKS: values}
        if late is not None:
            parts = {COPY_TICKS: values[~late], COPY_LATE_TICKS: values[late]}
        newest = self._newest_rows.get(stream)
        row = newest.extended(batch) if newest is not None and newest.takes(batch) else LedgerRow.of(batch)
        commit = partial(self._commit, batch, stream, row, parts)
        with translated():
            try:
                commit(partial(self._copy_whole, blocks=blocks if late is None else None))
            except RecordsTakenError:
                if not self.ledger.has_committed(batch, stream, row):
                    raise
                log.info("batch was committed before segment=%s offset_start=%d", batch.segment, batch.offset_start)
            except (psycopg.DataError, psycopg.IntegrityError) as exc:
                log.warning("batch has a row that the database rejects, searching for it error=%s", exc)
                batch.rejected += commit(partial(self._copy_bisected, batch))
            if late is not None:
                self._settle_late_ticks()
        self.commits.add(time.monotonic() - began_s)
        if span := batch.rows.span_us():
            self._newest_us[stream] = max(self._newest_us.get(stream, -math.inf), span[1])
        self._committed[stream] = Position(batch.segment, batch.offset_end)
        self._newest_rows[stream] = row

    def _commit(
        self,
        batch: Batch,
        stream: str,
        row: LedgerRow,
        parts: dict[str, Values],
        copy: Callable[[str, Values], list[RejectedTick]],
    ) -> list[RejectedTick]:
        """Write a batch in one transaction; return the rows that the database rejected.

        The statements before the COPY go to the server together, and so do those after it: each answer that is
        waited for costs a commit of a few rows as much as its rows.
        """
        connection, values = self._connection, batch.rows.values()
        place = f"{stream}/{batch.segment} offset {batch.offset_start}"
        rejected: list[RejectedTick] = []
        days, active = set[int](), set[int]()
        try:
            # The ledger first, so that a second writer of the same records waits here before it copies anything.
            if not self._often.run(("begin", {}), self.ledger.writing(batch, stream, row))[1]:
                raise RecordsTakenError(self.collector, place)
            if len(values):
                days, active = self._prepare(values)
            rejected += [tick for part in parts.items() if len(part[1]) for tick in copy(*part)]
            if batch.depth:
                copy_depth(connection, batch.depth)
            refused = Findings((), ())
            if batch.has_findings or rejected:
                refused = self._write_findings(batch, stream, row, rejected)
            # Last, because another collector waits for these rows; late ticks enter bars only when they are moved.
            touch = [touching(parts[COPY_TICKS][:, 0])] if len(parts[COPY_TICKS]) else []
            self._often.run(*touch, ("commit", {}))
        except BaseException as exc:
            with contextlib.suppress(psycopg.Error):  # the connection may be broken
                connection.rollback()
            self._often.forget()
            if isinstance(exc, psycopg.errors.UniqueViolation) and exc.diag.constraint_name == LEDGER_KEY:
                raise RecordsTakenError(self.collector, place) from exc
            raise
        self._days |= days
        self._active |= active
        for relation in refused.left_out.keys() - self.left_out.keys():
            log.warning("limit of the day reached, rows are only counted relation=tickline.%s", relation)
        self.left_out += refused.left_out
        return rejected

    def _write_findings(self, batch: Batch, stream: str, row: LedgerRow, rejected: Sequence[RejectedTick]) -> Findings:
        """Write what a batch has found besides ticks, and its checkpoint; return what side tables keep."""
        connection = self._connection
        refused = within_limits(
            connection, self.collector, [*batch.rejected, *rejected], batch.quarantined, self._side_limits
        )
        with connection.pipeline():
            if rejected:
                self.ledger.correct(batch, stream, row, len(rejected))
            if refused.unlisted_updates or refused.unlisted_frames:
                self.ledger.note_unlisted(batch, stream, row, refused)
            write_findings(connection, self.collector, stream, batch, refused)
            if batch.checkpoint is not None:
                end = Position(batch.segment, batch.offset_end)
                self.ledger.checkpoint(stream, end, batch.checkpoint)
        return refused

    def _copy_whole(self, statement: str, values: Values, *, blocks: Iterable[bytes] | None) -> list[RejectedTick]:
        """Copy rows, all or none; `blocks` are the rows if they are already encoded."""
        began_s = time.monotonic()
        copy_rows(self._connection, statement, blocks or encode_rows(values))
        self.copies.add(time.monotonic() - began_s)
        return []

    def _settle_late_ticks(self) -> None:
        """Move late ticks to the other ticks; after a crash the next connection moves them."""
        self._connection.execute(query("ledger/settle_late_ticks"))

    def _copy_bisected(self, batch: Batch, statement: str, values: Values) -> list[RejectedTick]:
        """Copy the rows that the database accepts, by halving blocks that fail; return the rejected rows."""
        try:
            with self._connection.transaction():
                copy_rows(self._connection, statement, encode_rows(values))
                return []
        except (psycopg.DataError, psycopg.IntegrityError) as exc:
            self._often.forget()
            if len(values) > 1:
                middle = len(values) // 2
                halves = (values[:middle], values[middle:])
                return [row for half in halves for row in self._copy_bisected(batch, statement, half)]
            tick = dict(zip(TICK_COLUMN_NAMES, np.where(np.isnan(values[0]), None, values[0]), strict=True))
            reason = exc.diag.message_primary or str(exc)
            return [
                RejectedTick(
                    int(tick["seq"] or 0), batch.offset_end, int(tick["instrument_id"] or 0), tick, reason, exc.sqlstate
                )
            ]

    def checkpoint(self, stream: str, position: Position, state: bytes) -> None:
        """Store the state at a committed position, so that the next start does not rebuild it."""
        if stream in self._behind:
            raise LedgerBehindError(self._behind.pop(stream))
        with translated():
            self.ledger.checkpoint(stream, position, state)

    def _prepare(self, values: Values) -> tuple[set[int], set[int]]:
        """Create partitions for new days, and record instruments that this database has not seen before.

        Returns the days and the instruments, which are known once the transaction is committed.
        """
        days = {int(day) for day in set((values[:, 0] // DAY_US).tolist())} - self._days
        for day in sorted(days):  # not the days between them: a frame may be years off
            make_room(self._connection, utc_of_us(day * DAY_US))
        fresh = set(values[:, 1].astype(np.int32).tolist()) - self._active
        if fresh:
            note_active(self._connection, fresh, utc_of_us(values[:, 0].min()))
        return days, fresh
