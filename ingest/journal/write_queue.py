"""Spool: records on their way from the socket to the journal, written in groups on a thread.

The event loop hands a record over and goes on; while one group is being written the next one
gathers. A record leaves the spool when the kernel has it, so a disk that is full delays what was
received and loses none of it. Nobody sees a record before the journal's file has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.errors import JournalError
from ingest.journal.writer import JournalWriter, NewRecord

log = logging.getLogger(__name__)

SPOOL_BYTES_MAX = 4 * 2**20  # a tenth of a second of the largest feed; beyond it the socket is not read


@dataclass(slots=True)
class WriteQueue:
    """The one way into a stream of the journal while the feed runs.

    Parameters
    ----------
    journal
        Where records go; nobody else may append to it.
    arrived
        Called after each group that was written, so that the reader of the journal need not poll.
    retry_s
        How long to wait before a disk that took nothing is asked again, seconds.
    """

    journal: JournalWriter
    arrived: Callable[[], None]
    retry_s: float
    error: str = ""  # why the journal takes nothing just now
    after_seq: int | None = None  # the last record before numbers that were left out on purpose; None: none were
    _records: deque[NewRecord] = field(default_factory=deque)
    _bytes: int = 0  # put and not yet seen to be written
    _put: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)  # something was written, or could not be
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, kind: int, payload: bytes, received_us: int, socket: int = 0) -> None:
        """Hand a record over; `room` says when there is room for the next."""
        self._records.append(NewRecord(kind, payload, received_us, socket))
        self._bytes += len(payload)
        self._put.set()

    def skipped(self) -> dict[str, int]:
        """Return the record before numbers that were left out, for the first connection to say; later ones need not."""
        after_seq, self.after_seq = self.after_seq, None
        return {} if after_seq is None else {"after_seq": after_seq}

    async def room(self) -> None:
        """Wait until there is room.

        Raises
        ------
        JournalError
            If the journal takes nothing just now. What was put is kept, and written when it does.
        """
        while self.error or self._bytes >= SPOOL_BYTES_MAX:
            if self.error:
                raise JournalError(self.error)
            self._moved.clear()
            await self._moved.wait()

    async def recovered(self) -> None:
        """Wait until the journal takes records again."""
        while self.error:
            self._moved.clear()
            await self._moved.wait()

    async def run(self) -> None:
        """Write what is put, until `close`; then what is left, if the disk takes it."""
        while self._records or not self._closing.is_set():
            await self._put.wait()
            self._put.clear()
            try:
                await asyncio.to_thread(self.journal.append_all, self._records)
                self.error = ""
            except (JournalError, OSError) as exc:  # whatever the disk says: it is tried again
                self.error = str(exc)
            self._bytes = sum(len(record.payload) for record in self._records)
            self._moved.set()
            self.arrived()
            if self.error:
                if self._closing.is_set():
                    log.error("received but not journalled records=%d error=%s", len(self._records), self.error)
                    return
                with contextlib.suppress(TimeoutError):  # a disk has time, a stop has not
                    await asyncio.wait_for(self._closing.wait(), self.retry_s)
                self._put.set()

    def close(self) -> None:
        """Let `run` end when all is written; nothing may be put any more."""
        self._closing.set()
        self._put.set()
