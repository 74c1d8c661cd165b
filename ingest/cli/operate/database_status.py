"""Output of `tickline db status`: facts, then a table for each list that is not empty."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ingest.market.shown_time import ist
from ingest.terminal import print_table

if TYPE_CHECKING:
    from ingest.database.operations.jobs import JobStatus
    from ingest.database.operations.status import DaysStatus, ReadingStatus, ReplicationStatus, RoleStatus, Status

UNITS = ("B", "kB", "MB", "GB", "TB")


def show(found: Status) -> None:
    """Print a status as text and tables."""
    revision = found.revision or "none: run `tickline db upgrade`"
    click.echo(f"database     {found.database} ({found.place})")
    click.echo(f"engine       {found.engine or 'not chosen yet'}")
    click.echo(f"server       PostgreSQL {found.server_version}, TimescaleDB {found.timescaledb_version or 'none'}")
    click.echo(f"revision     {revision} (this program: {found.head})")
    click.echo(f"size         {_size(found.bytes)}")
    if found.days is not None:
        click.echo(f"days (UTC)   {_days(found.days)}")
    click.echo(f"replication  {_role(found.replication)}")
    if found.reading is not None:
        click.echo(f"reading      {_reading(found.reading)}")
    if not found.settings:
        click.echo("settings     as recommended")
    _print_rows(
        ["relation", "rows (approx.)", "size", "bytes/row", "parts"],
        [
            (one.name, f"{one.rows:,}", _size(one.bytes), _number(one.bytes_per_row), str(one.parts))
            for one in found.relations
        ],
        numbers=(1, 2, 3, 4),
    )
    _print_rows(
        ["job", "on", "every", "runs", "failures", "last run", "last error"],
        [
            (one.job, one.relation or "-", one.every, str(one.runs), str(one.failures), _at(one.last_run), _error(one))
            for one in found.jobs
        ],
        numbers=(3, 4),
    )
    _print_rows(
        ["replica", "address", "state", "sync", "behind", "lag s"],
        [
            (one.name, one.address or "-", one.state or "?", one.sync or "?", _size(one.lag_bytes), _number(one.lag_s))
            for one in found.replicas
        ],
        numbers=(4, 5),
    )
    _print_rows(
        ["slot", "kind", "active", "wal", "keeps"],
        [
            (one.name, one.kind, "yes" if one.active else "no", one.wal or "-", _size(one.kept_bytes))
            for one in found.slots
        ],
        numbers=(4,),
    )
    _print_rows(
        ["role", "logins", "reads", "writes", "owns"],
        [
            (one.role, ", ".join(one.logins) or "none", _mark(one.reads), _mark(one.writes), _owns(one))
            for one in found.roles
        ],
    )
    _print_rows(
        ["setting", "value", "recommended", "why"],
        [(one.name, one.value, one.recommended, one.why) for one in found.settings],
    )


def _print_rows(header: Sequence[str], rows: Sequence[tuple[str, ...]], numbers: tuple[int, ...] = ()) -> None:
    """Print an empty line and a table, unless there are no rows; `numbers` are the numeric columns."""
    if rows:
        click.echo()
        print_table(list(zip(header, *rows, strict=True)), [n in numbers for n in range(len(header))], sys.stdout)


def _days(days: DaysStatus) -> str:
    """Return the days with ticks, and what was done with them."""
    if days.oldest is None:
        kept = "none with ticks"
    else:
        kept = f"{days.with_ticks:,} with ticks, {days.oldest} to {days.newest}"
    left = f"; {days.unsettled:,} neither exported nor reconciled" if days.unsettled else ""
    return f"{kept}; {days.exported:,} exported, {days.reconciled:,} reconciled, {days.dropped:,} dropped{left}"


def _role(found: ReplicationStatus) -> str:
    delay = "" if found.replay_delay_s is None else f", {found.replay_delay_s:,.1f} s behind its primary"
    return f"{found.role}{delay}; wal_level {found.wal_level}, max_wal_senders {found.wal_senders_max}"


def _reading(found: ReadingStatus) -> str:
    """Return where reading goes, and how far it is behind."""
    behind = "" if found.lag_bytes is None else f" ({_size(found.lag_bytes)} of the log)"
    said = found.error if found.standing is None else f"{found.place}: {found.standing}{behind}"
    if found.error and found.standing is not None:
        said = f"{said}; {found.error}"
    return f"{said}; reading from the primary" if found.error and found.falls_back else said


def _error(job: JobStatus) -> str:
    """Return the last error of a job on one line: its time, whether it is over, and its message."""
    if job.last_error_at is None:
        return "none"
    message = " ".join((job.last_error or "").split())
    return f"{_at(job.last_error_at)}{'' if job.fails else ' (over)'}: {message}"


def _mark(may: bool) -> str:
    return "yes" if may else "no"


def _owns(role: RoleStatus) -> str:
    return "superuser" if role.superuser else _mark(role.owns)


def _at(time: datetime | None) -> str:
    return ist(time.replace(microsecond=0)) if time else "never"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _size(size_bytes: int | None) -> str:
    """Return a size in bytes with a readable unit."""
    if size_bytes is None:
        return "?"
    size = float(size_bytes)
    for unit in UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.0f} {UNITS[-1]}"
