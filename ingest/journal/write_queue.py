"""Queue of records on their way from the socket to the journal, written in groups on a thread.

The event loop adds a record and continues; while one group is being written, the next one collects. The thread is the
queue's own, and is told of records by a token: handing each group to a pool of threads cost more than writing it.
A record leaves the queue once the kernel has it, so a full disk delays received data and loses none
of it. Nobody sees a record before it is in the journal file.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue

from ingest.errors import JournalError
from ingest.journal.writer import JournalWriter, NewRecord
from ingest.worker_thread import in_background

log = logging.getLogger(__name__)

WRITE_QUEUE_BYTES_MAX = 4 * 2**20  # a tenth of a second of the largest feed; above it the socket is not read


@dataclass(slots=True)
class WriteQueue:
    """The only way into a stream of the journal while the feed runs.

    Parameters
    ----------
    journal
        Where records are written; nobody else may append to it.
    arrived
        Called after each written group, so that the reader of the journal need not poll.
    retry_s
        Wait before trying again when the disk takes nothing, seconds.
    """

    journal: JournalWriter
    arrived: Callable[[], None]
    retry_s: float
    error: str = ""  # why the journal takes nothing at present
    after_seq: int | None = None  # last record before numbers omitted on purpose; None: none were
    _records: deque[NewRecord] = field(default_factory=deque)
    _put_bytes: int = 0  # of all payloads put so far
    _token: SimpleQueue[None] = field(default_factory=SimpleQueue)  # woken by it, a thread costs less than by an Event
    _is_told: bool = False  # the thread has a token that it has not taken yet
    _moved: asyncio.Event = field(default_factory=asyncio.Event)  # something was written, or a write failed
    _closing: threading.Event = field(default_factory=threading.Event)

    def put(self, kind: int, payload: bytes, received_us: int, socket: int = 0) -> None:
        """Add a record; await `room` before adding the next."""
        self._records.append(NewRecord(kind, payload, received_us, socket))
        self._put_bytes += len(payload)
        self._tell()

    def skipped(self) -> dict[str, int]:
        """Return the record before the omitted numbers, for the first connection to record; later calls return {}."""
        after_seq, self.after_seq = self.after_seq, None
        return {} if after_seq is None else {"after_seq": after_seq}

    async def room(self) -> None:
        """Wait until there is room.

        Raises
        ------
        JournalError
            If the journal takes nothing at present. Records already put are kept, and written once it does.
        """
        while self.error or self._put_bytes - self.journal.payload_bytes >= WRITE_QUEUE_BYTES_MAX:
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
        """Write records until `close`, then the rest, if the disk takes it."""
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wrap_future(in_background("journal", self._write_along, loop))
        finally:
            self.close()

    def _write_along(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._records or not self._closing.is_set():
            self._token.get()
            self._is_told = False  # before the queue is looked at: what is put from now on has a token of its own
            error = ""
            try:
                self.journal.append_all(self._records)
            except (JournalError, OSError) as exc:  # whatever the disk error, try again
                error = str(exc)
            loop.call_soon_threadsafe(self._note, error)
            if error:
                if self._closing.is_set():
                    log.error("received but not journalled records=%d error=%s", len(self._records), error)
                    return
                self._closing.wait(self.retry_s)  # a disk may take its time, a stop may not
                self._tell()

    def _note(self, error: str) -> None:
        """Note on the event loop that a group was written, or why not."""
        self.error = error
        self._moved.set()
        self.arrived()

    def close(self) -> None:
        """Let `run` end when everything is written; nothing may be put any more."""
        self._closing.set()
        self._token.put(None)  # also to a thread that has one

    def _tell(self) -> None:
        """Tell the thread that there is something to write, unless it knows."""
        if not self._is_told:
            self._is_told = True
            self._token.put(None)
