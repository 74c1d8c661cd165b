"""Unstored writer: what a collector's consumers write to. It numbers the keys, and stores nothing.

So the ticks of a collector are decoded and judged as those of `start` are, for liveness, status, handlers and the
event stream, by the same code. Who commits them is `tickline write`, which reads the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from ingest.journal.folder import segment_name, segments_of
from ingest.model.records import Position
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from ingest.settings import Settings
from ingest.store.batch import Batch, Resume
from ingest.store.ledger import Values
from ingest.store.retrying_writer import RetryingWriter
from ingest.store.writer import Writer

NO_DATABASE = "a collector has no database: ask that of the writer (`tickline write`)"


class UnstoredWriter(RetryingWriter):
    """A writer whose batches count as committed at once, and are stored nowhere.

    Instruments are numbered in order of their first tick, from 1, for the life of the process.

    Parameters
    ----------
    settings
        Settings with the collector and its journal.
    """

    stores = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(Writer("", settings.collector), first_s=1.0, max_s=1.0)
        self._folder = settings.journal_folder
        self._ids: dict[str, int] = {}
        self._ends: dict[str, Position] = {}  # of the journals of earlier runs

    @property
    def is_askable(self) -> bool:
        """There is nothing to ask."""
        return False

    def meet(self, within_s: float) -> bool:
        """Return True: nobody has to be met."""
        return True

    def write(self, batch: Batch, stream: str) -> None:
        """Take a batch."""

    def register(self, instrument_keys: Sequence[str], day: date, unknown_max: int) -> list[InstrumentRef]:
        """Return a number for each key."""
        return [InstrumentRef(self._ids.setdefault(key, len(self._ids) + 1), key) for key in instrument_keys]

    def recall(self, stream: str, first_seq: int, last_seq: int) -> tuple[list[InstrumentRef], Values]:
        """Return nothing: what the journal lacks is nowhere else."""
        return [], np.empty((0, len(TICK_COLUMN_NAMES)))

    def resume_now(self, stream: str) -> Resume | None:
        """Return None: nobody here knows the ledger, so the next record is numbered as without the database."""
        segments = segments_of(self._folder / stream)
        if segments:
            self._ends[stream] = Position(segment_name(segments[-1]) + "~", 0)  # behind it, before any other
        return None

    def resume(self, stream: str, *, unused_seq: int | None = None) -> Resume:
        """Return the end of the journal as it was at the start: liveness needs no tick of an earlier run."""
        return Resume(committed=None, digest="", last_seq=0, checkpoint=self._ends.get(stream), state=b"")

    def checkpoint(self, stream: str, position: Position, state: bytes) -> None:
        """Drop the state."""
