"""Row buffer: one array that holds the tick rows of a batch until they are written. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.model.ticks import TICK_COLUMN_NAMES, TICK_COLUMNS
from ingest.store.copy_format import encode_rows, nullify

_SEQ = TICK_COLUMN_NAMES.index("seq")


class RowBuffer:
    """Rows of one batch, at most `rows_max`, in memory that is allocated once."""

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self.rows = 0
        self._values = np.empty((rows_max, len(TICK_COLUMNS)))
        self._encoded: list[bytes] = []
        self._encoded_rows = 0
        self._span_us: tuple[float, float] | None = None

    def clear(self) -> None:
        """Drop the rows but keep the memory."""
        self.rows = self._encoded_rows = 0
        self._encoded.clear()
        self._span_us = None

    def has_room(self, rows: int) -> bool:
        """Tell whether `rows` more rows fit; an empty buffer grows to take a frame of any size."""
        if not self.rows and rows > self.rows_max:
            self.rows_max = rows
            self._values = np.empty((rows, len(TICK_COLUMNS)))
        return self.rows + rows <= self.rows_max

    def room(self, rows: int) -> int:
        """Return how many more rows fit; the caller adds at least `rows`, for which an empty buffer grows."""
        self.has_room(rows)
        return self.rows_max - self.rows

    def extend(self, values: NDArray[np.float64]) -> None:
        """Add rows: shape (rows, 28), float64, columns as `TICK_COLUMNS`, NaN for NULL."""
        self._values[self.rows : self.rows + len(values)] = values
        self.rows += len(values)
        self._span_us = None

    def values(self) -> NDArray[np.float64]:
        """Return the rows as a view of this buffer, shape (rows, 28), float64."""
        return self._values[: self.rows]

    def span_us(self) -> tuple[float, float] | None:
        """Return the oldest and the newest `ts`, epoch microseconds; None: there are no rows."""
        if self._span_us is None and self.rows:
            times = self._values[: self.rows, 0]
            self._span_us = float(times.min()), float(times.max())
        return self._span_us

    def nullify(self) -> None:
        """Replace infinities and unsent zeros by NULL in the rows that are not encoded yet; see `nullify`."""
        nullify(self._values[self._encoded_rows : self.rows])

    def encode(self) -> list[bytes]:
        """Return the rows as the body of a binary COPY, in blocks; encode only the rows added since the last call.

        Call it as rows arrive, so that the database does not wait for the encoding between two batches.
        """
        self.nullify()
        self._encoded += encode_rows(self._values[self._encoded_rows : self.rows])
        self._encoded_rows = self.rows
        return self._encoded


def late_rows(rows: RowBuffer, *, newest_us: float, behind_us: float) -> NDArray[np.bool_] | None:
    """Tell which rows are far behind the rows before them; return None if all rows are late or none is.

    Parameters
    ----------
    rows
        The rows.
    newest_us
        Newest `ts` before these rows, epoch microseconds.
    behind_us
        A row is late if it is further behind than this, microseconds.
    """
    span = rows.span_us()
    if span is None or max(span[1], newest_us) - span[0] <= behind_us:
        return None
    values = rows.values()
    times, order = values[:, 0], np.argsort(values[:, _SEQ], kind="stable")
    late = np.empty(len(times), np.bool_)
    late[order] = times[order] < np.maximum(np.maximum.accumulate(times[order]), newest_us) - behind_us
    return late if late.any() and not late.all() else None
