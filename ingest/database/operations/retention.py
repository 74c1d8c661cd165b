"""Drop the ticks of old days if nothing is lost with them; keep their bars.

Decides when the ticks of a day may be dropped: its bars are kept and were made from all its ticks, and the
day was reconciled or is in a Parquet file with every tick. Must not know how either is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row, tuple_row

from ingest.database.connections import Database, check_schema, translated
from ingest.database.operations.lock_holders import LockWatch
from ingest.database.operations.statistics import analyze_parents
from ingest.database.queries import query
from ingest.errors import Retryable

# A drop waits for whoever reads `ticks`, and everybody else waits behind it: so it waits briefly, and tries again.
LOCK_TIMEOUT = "200ms"
LOCK_SECONDS_MAX = 60.0  # then the day stays until the next run
LOCK_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class DayReport:
    """Result for the ticks of a UTC day; `missing` says why they were kept."""

    day: date
    ticks: int
    bars: int
    missing: tuple[str, ...]
    dropped: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON wants them."""
        return asdict(self)


def note_day(
    connection: psycopg.Connection[Any],
    days: list[date],
    *,
    reconciled_at: datetime | None = None,
    exported_at: datetime | None = None,
    exported_to: str | None = None,
    exported_ticks: int | None = None,
    dropped_at: datetime | None = None,
) -> None:
    """Store in `days` what was done; None leaves a value unchanged."""
    connection.execute(
        query("database/note_day"),
        {
            "days": days,
            "reconciled_at": reconciled_at,
            "exported_at": exported_at,
            "exported_to": exported_to,
            "exported_ticks": exported_ticks,
            "dropped_at": dropped_at,
        },
    )


def retain(
    database: Database, before: date, *, dry_run: bool = False, show: Callable[[date, int, int], None] | None = None
) -> Iterator[DayReport]:
    """Drop the ticks of the days before a UTC day, one day at a time, oldest first.

    A day is checked and dropped in one transaction that locks out writers of that day. A session that reads `ticks`
    delays the drop, but nobody queues behind it for longer than a fifth of a second.

    Parameters
    ----------
    before
        The first day that is kept.
    dry_run
        Check, but drop nothing.
    show
        Called before each day, with the days that are done and the number of all.

    Raises
    ------
    Retryable
        If a session uses `ticks` for longer than a minute; names it, and the ticks of the day are kept.
    StoreError
        If the database cannot be read or written.
    """
    with translated(), database.connect_as_owner(autocommit=True, row_factory=namedtuple_row) as connection:
        check_schema(connection)
        connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
        with LockWatch(database.superuser_url, connection.info.backend_pid) as watch:
            days: list[Any] = connection.execute(query("shared/retainable_days"), {"before": before}).fetchall()
            for done, found in enumerate(days):
                if show is not None:
                    show(found.day, done, len(days))
                try:
                    yield _retain_day(connection, found, dry_run=dry_run)
                except psycopg.errors.LockNotAvailable as exc:
                    who = str(watch.holders[0]) if watch.holders else "another session"
                    raise Retryable(
                        f"ticks of {found.day} stay, because {who} has been using ticks for "
                        f"{LOCK_SECONDS_MAX:g} s: wait until it ends, and run it again"
                    ) from exc
        if not dry_run:
            connection.row_factory = tuple_row
            analyze_parents(connection)


def _retain_day(connection: psycopg.Connection[Any], found: Any, *, dry_run: bool) -> DayReport:
    start = datetime(found.day.year, found.day.month, found.day.day, tzinfo=UTC)
    with connection.transaction():
        if not dry_run:
            _when_free(connection, "database/lock_day", found.day)
        bars: Any = connection.execute(
            query("database/bars_of_ticks"), {"start": start, "end": start + timedelta(days=1)}
        ).fetchone()
        missing = tuple(_missing(found, bars)) if bars.ticks else ()
        if dropping := not missing and not dry_run:
            connection.execute(query("database/keep_official_days"), {"day": found.day})
            _when_free(connection, "database/drop_day", found.day)
            _when_free(connection, "database/drop_depth_day", found.day)
            if bars.ticks:
                note_day(connection, [found.day], dropped_at=datetime.now(UTC))
    return DayReport(found.day, bars.ticks, bars.bars, missing, dropping)


def _when_free(connection: psycopg.Connection[Any], name: str, day: date) -> None:
    """Run a statement that needs a lock, as soon as it gets it without a wait that others would feel."""
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        try:
            with connection.transaction():
                connection.execute(query(name), {"day": day})
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOCK_POLL_S)
        else:
            return


def _missing(found: Any, bars: Any) -> Iterator[str]:
    """Yield what must be done before the ticks of a day may be dropped."""
    if found.dropped_at is not None:
        yield f"{bars.ticks} ticks came after the day was dropped and are in no bar: check and delete them by hand"
        return
    again = f"run `tickline export --day {found.day}`"
    if unmade := bars.not_kept + bars.stale + bars.stale_5m:
        yield f"{unmade} of {bars.bars} bars not kept or not of all ticks: run `tickline db refresh --day {found.day}`"
    if found.reconciled_at is not None:
        return
    if found.exported_at is None:
        yield f"neither exported nor reconciled: {again} or `tickline reconcile --day {found.day}`"
    elif found.exported_ticks != bars.ticks:
        yield f"exported with {found.exported_ticks} of {bars.ticks} ticks: {again}"
    elif (rows := _rows_of(Path(found.exported_to))) != bars.ticks:
        yield f"file {found.exported_to!r} has {rows} of {bars.ticks} ticks: {again}"


def _rows_of(file: Path) -> int:
    """Return the rows of a Parquet file by its footer; 0 if it is absent or damaged."""
    import polars as pl  # noqa: PLC0415 - slow to import, and only an exported day needs it

    try:
        return int(pl.scan_parquet(file).select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError):
        return 0
