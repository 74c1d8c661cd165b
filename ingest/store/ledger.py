"""The rows of the ledger: which records of which segment are committed, and the state behind them.

Owns what is written there; when, and in which transaction, is for the writer to know.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from ingest.database.queries import query
from ingest.market.time import utc_of_us
from ingest.model.records import Position
from ingest.store.batch import Batch

Connection = psycopg.Connection[tuple[Any, ...]]


def write_ledger(
    connection: Connection, collector: str, stream: str, batch: Batch, values: NDArray[np.float64]
) -> None:
    """Note a batch; `values` are its rows, shape (rows, 28)."""
    times = values[:, 0] if len(values) else None
    connection.execute(
        query("ledger/write_ledger"),
        {
            "collector": collector,
            "segment": f"{stream}/{batch.segment}",
            "offset_start": batch.offset_start,
            "offset_end": batch.offset_end,
            "first_seq": batch.first_seq,
            "last_seq": batch.last_seq,
            "frames": batch.frames,
            "ticks": batch.rows.rows,
            "rejected": batch.rejected_updates,
            "quarantined": len(batch.quarantined),
            "duplicates": batch.duplicates,
            "first_ts": None if times is None else utc_of_us(times.min()),
            "last_ts": None if times is None else utc_of_us(times.max()),
            "digest": batch.digest,
        },
    )


def correct_ledger(connection: Connection, collector: str, stream: str, batch: Batch, rejected: int) -> None:
    """Note that the database rejected so many rows of a batch."""
    connection.execute(
        query("ledger/correct_ledger"),
        {
            "collector": collector,
            "segment": f"{stream}/{batch.segment}",
            "offset_start": batch.offset_start,
            "rejected": rejected,
        },
    )


def write_checkpoint(connection: Connection, collector: str, stream: str, position: Position, state: bytes) -> None:
    """Store the state at a committed position."""
    connection.execute(
        query("ledger/write_checkpoint"),
        {
            "collector": collector,
            "stream": stream,
            "segment": position.segment,
            "end_offset": position.offset,
            "state": state,
        },
    )
