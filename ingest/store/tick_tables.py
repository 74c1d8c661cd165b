"""Tick tables: copy rows into them, and prepare partitions and active instruments for the rows.

Runs inside the caller's transaction. Must not know where rows come from or how they were judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import psycopg

from ingest.database.queries import query
from ingest.model.ticks import TICK_COLUMN_NAMES
from ingest.store.copy_format import COPY_HEADER, COPY_TRAILER

Connection = psycopg.Connection[tuple[Any, ...]]

COPY_TICKS, COPY_LATE_TICKS = (
    f"copy {table} ({', '.join(TICK_COLUMN_NAMES)}) from stdin (format binary)"
    for table in ("ticks", "tickline.late_ticks")
)


def copy_rows(connection: Connection, statement: str, blocks: Iterable[bytes]) -> None:
    """Copy rows into a table, all or none; `blocks` come from `encode_rows`."""
    with connection.cursor().copy(statement) as copy:
        copy.write(COPY_HEADER)
        for block in blocks:
            copy.write(block)
        copy.write(COPY_TRAILER)


def make_room(connection: Connection, at: datetime) -> None:
    """Create the partition that holds a time, if it does not exist."""
    connection.execute(query("shared/ensure_partitions"), {"start": at, "end": at})


def note_active(connection: Connection, instrument_ids: Collection[int], first_seen: datetime) -> None:
    """Record that instruments have ticks; leave instruments that are already recorded unchanged."""
    connection.execute(
        query("shared/note_active"), {"instrument_ids": sorted(instrument_ids), "first_seen": first_seen}
    )
