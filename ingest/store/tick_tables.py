"""Tick tables: copy rows into them, and prepare partitions and active instruments for the rows.

Runs inside the caller's transaction. Must not know where rows come from or how they were judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import psycopg

from ingest.database.prepared import copy_in
from ingest.database.queries import query
from ingest.market.time import DAY_US, utc_of_us
from ingest.model.ticks import TICK_COLUMN_NAMES, Floats
from ingest.store.copy_format import COPY_HEADER, COPY_TRAILER
from ingest.store.depth_rows import DEPTH_COLUMN_NAMES, encode_depth

Connection = psycopg.Connection[tuple[Any, ...]]

COPY_TICKS, COPY_LATE_TICKS = (
    f"copy {table} ({', '.join(TICK_COLUMN_NAMES)}) from stdin (format binary)"
    for table in ("ticks", "tickline.late_ticks")
)


JOINED_MAX = 3  # parts of a COPY that are sent as one: header, a block and trailer
COPY_DEPTH = f"copy depth ({', '.join(DEPTH_COLUMN_NAMES)}) from stdin (format binary)"


def copy_rows(connection: Connection, statement: str, blocks: Iterable[bytes]) -> None:
    """Copy rows into a table, all or none; `blocks` come from `encode_rows`."""
    parts = [COPY_HEADER, *blocks, COPY_TRAILER]
    # Each part costs as much as a few rows do, and joining many blocks as much as sending them.
    copy_in(connection, statement, [b"".join(parts)] if len(parts) <= JOINED_MAX else parts)


def copy_depth(connection: Connection, parts: Sequence[Floats]) -> None:
    """Copy rows of `depth`, and create the partitions of their days; see `depth_rows`."""
    values = np.concatenate(parts)
    for day in sorted(set((values[:, 0] // DAY_US).tolist())):  # not the days between: a frame may be years off
        connection.execute(query("shared/ensure_depth_day"), {"day": utc_of_us(day * DAY_US).date()})
    copy_rows(connection, COPY_DEPTH, encode_depth(values))


def make_room(connection: Connection, at: datetime) -> None:
    """Create the partition that holds a time, if it does not exist."""
    connection.execute(query("shared/ensure_partitions"), {"start": at, "end": at})


def note_active(connection: Connection, instrument_ids: Collection[int], first_seen: datetime) -> None:
    """Record that instruments have ticks; leave instruments that are already recorded unchanged."""
    connection.execute(
        query("shared/note_active"), {"instrument_ids": sorted(instrument_ids), "first_seen": first_seen}
    )
