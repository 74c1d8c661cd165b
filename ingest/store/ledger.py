"""Ledger: which records of which segment are committed, and the state after them.

Owns reads and writes of the ledger. The writer decides when they happen and in which transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from ingest.database.connections import translated
from ingest.database.queries import query
from ingest.market.time import utc_of_us
from ingest.model.records import Position
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from ingest.store.batch import Batch, Resume
from ingest.store.ledger_row import LedgerRow
from ingest.store.side_limits import Findings

Values = NDArray[np.float64]  # shape (rows, 28), see `ingest.store.copy_format`

LEDGER_KEY = "ledger_segment_offset_key"  # this constraint refuses a second row with the same start


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one collector, over one connection.

    Reads raise `StoreError`. Writes are part of a transaction and raise psycopg's own errors, because the writer
    decides by them what to do.
    """

    connection: psycopg.Connection[tuple[Any, ...]]
    collector: str

    @translated()
    def resume(self, stream: str) -> Resume:
        """Read the end of a stream's ledger and its newest checkpoint."""
        parameters = {"collector": self.collector, "stream": stream}
        ledger = self.connection.execute(query("ledger/committed_position"), parameters).fetchone()
        checkpoint = self.connection.execute(query("ledger/read_checkpoint"), parameters).fetchone()
        return Resume(
            committed=Position(ledger[0], ledger[1]) if ledger else None,
            digest=ledger[2] if ledger else "",
            last_seq=ledger[3] if ledger else 0,
            checkpoint=Position(checkpoint[0], checkpoint[1]) if checkpoint else None,
            state=bytes(checkpoint[2]) if checkpoint else b"",
        )

    @translated()
    def digests(self, stream: str) -> list[tuple[int, str]]:
        """Read the end offset (bytes) and digest of every ledger row of a stream, in order."""
        parameters = {"collector": self.collector, "stream": stream}
        return self.connection.execute(query("ledger/committed_digests"), parameters).fetchall()

    @translated()
    def recall(self, stream: str, first_seq: int, last_seq: int) -> tuple[list[InstrumentRef], Values]:
        """Read the last tick of each instrument in a range of committed records; shape (instruments, 28)."""
        parameters = {"collector": self.collector, "stream": stream, "first_seq": first_seq, "last_seq": last_seq}
        found = self.connection.execute(query("ledger/last_ticks_of_records"), parameters).fetchall()
        refs = [InstrumentRef(row[2], row[0]) for row in found]
        return refs, np.array([row[1:] for row in found], np.float64).reshape(len(found), len(TICK_COLUMN_NAMES))

    @translated()
    def has_committed(self, batch: Batch, stream: str, row: LedgerRow) -> bool:
        """Tell whether a row ends with exactly this batch, as when the connection broke during its commit."""
        found = self.connection.execute(
            query("ledger/committed_batch"),
            self._place(batch, stream, row) | {"offset_end": batch.offset_end, "digest": batch.digest},
        ).fetchone()
        return found is not None

    def writing(self, batch: Batch, stream: str, row: LedgerRow) -> tuple[str, dict[str, Any]]:
        """Return the statement that writes the ledger row of a batch, or extends the row that it continues.

        Parameters
        ----------
        batch, stream
            The batch, and its stream.
        row
            The row with the batch.

        Returns
        -------
        tuple
            The statement and its parameters. It changes no row if the ledger has other records, or the same, at this
            place.
        """
        span = batch.rows.span_us()
        begins = row.offset_start == batch.offset_start
        parameters = self._place(batch, stream, row) | {
            "offset_start": batch.offset_start,
            "offset_end": batch.offset_end,
            "first_seq": batch.first_seq,
            "last_seq": batch.last_seq,
            "frames": batch.frames,
            "ticks": batch.rows.rows,
            "rejected": batch.rejected_updates,
            "quarantined": len(batch.quarantined),
            "duplicates": batch.duplicates,
            "first_ts": span and utc_of_us(span[0]),
            "last_ts": span and utc_of_us(span[1]),
            "digest": batch.digest,
        }
        return query("ledger/write_ledger" if begins else "ledger/extend_ledger"), parameters

    def correct(self, batch: Batch, stream: str, row: LedgerRow, rejected: int) -> None:
        """Correct the ledger row of a batch: the database rejected `rejected` of the batch's rows."""
        place = self._place(batch, stream, row)
        self.connection.execute(query("ledger/correct_ledger"), place | {"rejected": rejected})

    def note_unlisted(self, batch: Batch, stream: str, row: LedgerRow, refused: Findings) -> None:
        """Count in the ledger row of a batch what it found and what side tables did not keep."""
        self.connection.execute(
            query("refused/note_unlisted"),
            self._place(batch, stream, row) | {"updates": refused.unlisted_updates, "frames": refused.unlisted_frames},
        )

    def checkpoint(self, stream: str, position: Position, state: bytes) -> None:
        """Store the state at a committed position."""
        self.connection.execute(
            query("ledger/write_checkpoint"),
            {
                "collector": self.collector,
                "stream": stream,
                "segment": position.segment,
                "end_offset": position.offset,
                "state": state,
            },
        )

    def _place(self, batch: Batch, stream: str, row: LedgerRow) -> dict[str, Any]:
        """Return where the ledger row of a batch begins: the columns of the ledger's key."""
        return {
            "collector": self.collector,
            "segment": f"{stream}/{batch.segment}",
            "row_start": row.offset_start,
        }
