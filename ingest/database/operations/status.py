"""Status of the database, as an operator reads it: `tickline db status`.

Owns what is asked; changes nothing. Must not know how it is shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, TypeVar

import psutil
import psycopg
from psycopg.rows import class_row

from ingest.database.connections import HEAD, Database, recorded_engine, revision, translated
from ingest.database.operations import recommended
from ingest.database.operations.jobs import JobStatus, jobs_of
from ingest.database.operations.recommended import Difference, ServerSetting
from ingest.database.queries import query
from ingest.database.server.reading import SETTING
from ingest.database.server.standby import standing
from ingest.database.settings import Engine
from ingest.database.upgrade import found_timescaledb

Row = TypeVar("Row")
COMMUNITY = "timescale"  # licence of the Community edition; the other has no columnstore and no jobs of ours


@dataclass(frozen=True, slots=True)
class RelationStatus:
    """A relation that holds data; those of schema `tickline` are named with it."""

    name: str
    rows: int  # estimated
    bytes: int  # with indexes
    parts: int  # chunks or partitions
    bytes_per_row: float | None  # None: no rows, as far as is known


@dataclass(frozen=True, slots=True)
class DaysStatus:
    """Days of ticks (UTC), and what was done with them."""

    oldest: date | None
    newest: date | None
    with_ticks: int
    unsettled: int  # with ticks, before today, neither exported nor reconciled
    exported: int
    reconciled: int
    dropped: int


@dataclass(frozen=True, slots=True)
class ReplicationStatus:
    """Role of the server in replication."""

    role: str  # primary or standby
    wal_level: str
    wal_senders_max: int
    replay_delay_s: float | None  # of a standby


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A connection that receives the server's log; without pg_monitor only its name is visible."""

    name: str
    address: str | None
    state: str | None
    sync: str | None
    lag_bytes: int | None
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class ReadingStatus:
    """The server of `TICKLINE_READ_DATABASE_URL`, where it is another one than the primary."""

    place: str
    standing: str | None  # in words; None: it does not answer
    is_standby: bool | None
    lag_s: float | None  # None: not known
    lag_bytes: int | None  # of the primary's log that it has not replayed
    error: str  # why it should not be read; "": it may be read
    falls_back: bool  # whether reading then goes to the primary


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A replication slot."""

    name: str
    kind: str
    active: bool
    wal: str | None
    kept_bytes: int | None


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """What a role may do with our relations."""

    role: str
    logins: list[str]  # the role itself if it may log in, and its members
    reads: bool
    writes: bool
    owns: bool
    superuser: bool


@dataclass(frozen=True, slots=True)
class Status:
    """Output of `tickline db status`; `engine`, `revision` and `days` are None before the first upgrade."""

    database: str
    place: str
    engine: Engine | None
    server_version: str
    timescaledb_version: str | None
    revision: str | None
    head: str
    bytes: int
    days: DaysStatus | None
    relations: list[RelationStatus]  # largest first
    jobs: list[JobStatus]
    replication: ReplicationStatus
    replicas: list[ReplicaStatus]
    slots: list[SlotStatus]
    roles: list[RoleStatus]  # with any right to our relations, most powerful first
    settings: list[Difference]  # that differ from what we recommend
    timescaledb_licence: str | None = None  # in force; None: not loaded
    reading: ReadingStatus | None = None  # None: reading goes to the same server

    @property
    def uses_timescaledb(self) -> bool:
        """Whether the schema was made for TimescaleDB."""
        return self.engine == "timescale"

    @property
    def has_wrong_licence(self) -> bool:
        """Whether the schema needs what the edition in force does not have."""
        return self.uses_timescaledb and self.timescaledb_licence != COMMUNITY

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON wants them."""
        return asdict(self)


def status(database: Database) -> Status:
    """Inspect a database of any revision.

    Raises
    ------
    StoreError
        If it cannot be reached.
    """
    with translated(), database.connect() as conn:
        engine, found = recorded_engine(conn), revision(conn)
        made = engine if found is not None else None
        # Only a loaded extension knows its edition.
        licence = conn.execute("select current_setting('timescaledb.license', true)").fetchone()
        size = conn.execute("select pg_database_size(current_database())").fetchone()
        # Only the embedded server is known to be on this machine.
        memory = psutil.virtual_memory().total if database.server else None
        return Status(
            database=conn.info.dbname,
            place=f"embedded, {database.server.root}" if database.server else conn.info.host,
            engine=engine,
            server_version=conn.info.parameter_status("server_version") or "",
            timescaledb_version=found_timescaledb(conn)["installed_version"],
            revision=found,
            head=HEAD,
            bytes=size[0] if size else 0,
            days=None if made is None else _rows(conn, "days", DaysStatus)[0],
            relations=[] if made is None else _rows(conn, f"relation_sizes.{made}", RelationStatus),
            jobs=[] if made is None else jobs_of(conn),
            replication=_rows(conn, "replication", ReplicationStatus)[0],
            replicas=_rows(conn, "replicas", ReplicaStatus),
            slots=_rows(conn, "slots", SlotStatus),
            roles=[] if made is None else _rows(conn, "roles", RoleStatus),
            settings=recommended.differences(
                _rows(conn, "settings", ServerSetting, {"names": recommended.NAMES}), memory
            ),
            timescaledb_licence=licence[0] if licence else None,
            reading=_reading(database, conn),
        )


def _reading(database: Database, conn: psycopg.Connection[Any]) -> ReadingStatus | None:
    """Ask the server for reading, and compare it with the primary of `conn`."""
    if database.reading_place is None or not database.reading_place.is_other_server:
        return None
    found, falls_back = database.reading_place.ask(), database.reading_place.falls_back
    if (there := found.standing) is None:
        return ReadingStatus(found.place, None, None, None, None, found.error, falls_back)
    primary = standing(conn)
    if there.system != primary.system:
        error = f"replica at {found.place!r} is no copy of the primary: correct {SETTING}"
        return ReadingStatus(found.place, there.text(), there.is_standby, None, None, error, falls_back)
    behind = there.behind_bytes(primary) if there.is_standby else None
    return ReadingStatus(found.place, there.text(), there.is_standby, there.lag_s, behind, found.error, falls_back)


def _rows(
    conn: psycopg.Connection[Any], name: str, kind: type[Row], parameters: dict[str, Any] | None = None
) -> list[Row]:
    """Run a query of `sql/queries/status/` and return its rows as `kind`."""
    with conn.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query(f"status/{name}"), parameters).fetchall()
