"""Append to a stream of the journal: group fsync, rotation, disk space checks.

Owns the newest segment. When `append` returns, the kernel has the data; after the fsync interval of
the settings, the disk has it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ingest.errors import JournalError
from ingest.journal.folder import SUFFIX, bytes_of, is_bare, name_of_segment, segment_name, segments_of, sync_folder
from ingest.journal.format import SegmentHeader, encode_record, encode_segment_header
from ingest.market.time import day_number
from ingest.model.durations import Durations
from ingest.model.records import Position, order_of

log = logging.getLogger(__name__)

ROOM_CHECK_BYTES = 4 * 2**20  # bytes written between two checks of the disk
GROUP_BYTES_MAX = 2**20  # per write; larger ones gain nothing


class NewRecord(NamedTuple):
    """A record that has no number yet."""

    kind: int
    payload: bytes
    received_us: int
    socket: int = 0


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """Limits of a stream. Zero means no limit; for fsync, before `append` returns."""

    segment_bytes_max: int = 256 * 2**20
    fsync_ms: int = 100
    quota_bytes: int = 0  # of the stream's folder
    free_bytes_min: int = 0  # must stay free on its disk


class JournalWriter:
    """Append records to a stream. One per stream, used by one task; fsync runs on a thread.

    Parameters
    ----------
    folder
        Folder of the stream's segments.
    collector, stream
        Names, for the segment header.
    next_seq
        Number of the next record.
    limits
        Limits of the stream.

    Attributes
    ----------
    segment
        Name of the newest segment begun; "" before the first.
    records, bytes, payload_bytes
        Written by this object: records, their bytes in the segments, and the bytes of their payloads alone.
    syncs
        How long each fsync took.
    synced
        End of what an fsync has covered, with the name of its segment; None: nothing of this object is. Segments
        before it are covered too, unless their last fsync failed.
    when_synced
        Called after each fsync, on the thread that made it.

    Raises
    ------
    JournalError
        If the folder cannot be created.
    """

    def __init__(self, folder: Path, *, collector: str, stream: str, next_seq: int, limits: JournalLimits) -> None:
        self.folder = folder
        self.next_seq = next_seq
        self.records = 0
        self.bytes = 0
        self.payload_bytes = 0
        self.segment = ""
        self.syncs = Durations()
        self.synced: Position | None = None
        self.when_synced: Callable[[], None] = lambda: None
        self._name = ""  # of the open segment; changes together with the descriptor
        self._collector, self._stream = collector, stream
        self._limits = limits
        self._fd = -1
        self._size = 0
        self._day = -1  # IST day number
        self._until_check = 0  # bytes that may be written before the next check of the disk
        self._sync_error: OSError | None = None
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()  # the fsync thread and rotation share the descriptor
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise JournalError(
                f"journal {str(folder)!r} cannot be used: {exc.strerror}: make way for it, or set TICKLINE_HOME"
            ) from exc
        self._behind = (next_seq, "")  # in segment order: later segments are not ours until we begin one
        self._syncer = threading.Thread(target=self._sync_along, name="journal-fsync", daemon=True)
        if limits.fsync_ms:
            self._syncer.start()

    def segments(self) -> list[Path]:
        """Return the stream's segments, oldest first, up to the one being written.

        A reader must not move on to a later file that somebody else put there: more comes into this segment.
        """
        return [path for path in segments_of(self.folder) if order_of(segment_name(path)) <= self._behind]

    def append(self, kind: int, payload: bytes, received_us: int) -> int:
        """Write one record and return its seq; see `append_all`."""
        self.append_all(deque([NewRecord(kind, payload, received_us)]))
        return self.next_seq - 1

    def append_all(self, records: deque[NewRecord]) -> None:
        """Write records in order; each leaves the queue when the kernel has it.

        Another thread may add to the queue meanwhile; records it adds are written now or left in the queue.

        Raises
        ------
        JournalError
            If the disk does not take a record; it and all later ones stay in the queue, and the segment
            ends with the record before it.
        """
        while records:
            if self._sync_error is not None:
                self._give_up_segment(self._sync_error)
            if self._fd >= 0 and not os.fstat(self._fd).st_nlink:
                log.error("journal segment was deleted while it was written, a new one is begun folder=%s", self.folder)
                self._close_segment(sync=False)
            if self._until_check <= 0:
                self.check_room()
            first = records[0]
            day = day_number(first.received_us // 1000)
            if self._fd < 0 or self._size >= self._limits.segment_bytes_max or day != self._day:
                self._rotate(day, first.received_us)
            count = self._write_group(records)
            self.payload_bytes += sum(len(records.popleft().payload) for _ in range(count))
            self.next_seq += count
            self.records += count
            if self._limits.fsync_ms:
                self._dirty.set()
            else:
                self._sync_now()

    def _write_group(self, records: deque[NewRecord]) -> int:
        """Write as many records as fit into one write, of one day and into one segment; return their number."""
        room = min(GROUP_BYTES_MAX, self._limits.segment_bytes_max - self._size, self._until_check)
        data: list[bytes] = []
        size = 0
        for index in range(len(records)):  # not an iterator: the queue may grow meanwhile
            record = records[index]
            if data and (size >= room or day_number(record.received_us // 1000) != self._day):
                break
            seq = self.next_seq + len(data)
            data.append(encode_record(record.kind, seq, record.received_us, record.payload, record.socket))
            size += len(data[-1])
        begins = self._size
        count = self._write(data)
        self.bytes += self._size - begins
        self._until_check -= self._size - begins
        return count

    def check_room(self) -> None:
        """Check the free space and the quota.

        Raises
        ------
        JournalError
            If the quota or the disk's reserve is used up.
        """
        self._until_check = 0  # until there is room, each append checks again
        limits = self._limits
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # it may have been deleted
            free = shutil.disk_usage(self.folder).free
            used = bytes_of(segments_of(self.folder)) if limits.quota_bytes else 0
        except OSError as exc:
            raise JournalError(f"cannot look at journal {self.folder.name!r}: {exc.strerror}: see its disk") from exc
        if free < limits.free_bytes_min:
            raise JournalError(
                f"disk of journal {self.folder.name!r} has {free:,} bytes free, the reserve is "
                f"{limits.free_bytes_min:,}: free some, or lower TICKLINE_JOURNAL_FREE_BYTES_MIN"
            )
        if limits.quota_bytes and used >= limits.quota_bytes:
            raise JournalError(
                f"journal {self.folder.name!r} has {used:,} bytes, the quota is {limits.quota_bytes:,}: bring the "
                "database, or the writer, back so that it drains, or raise TICKLINE_JOURNAL_QUOTA_BYTES"
            )
        self._until_check = ROOM_CHECK_BYTES

    def close(self) -> None:
        """Sync and close; afterwards every record is on the disk."""
        self._closing.set()
        self._dirty.set()
        if self._syncer.is_alive():
            self._syncer.join()
        try:
            self._close_segment()
        except OSError as exc:
            raise JournalError(f"cannot sync journal {self.folder.name!r}: {exc.strerror}: see its disk") from exc

    def _write(self, parts: list[bytes]) -> int:
        """Write parts in one go; return how many the disk took completely, at least one.

        Those stay: a reader may have seen them already.
        """
        try:
            written = os.write(self._fd, b"".join(parts))
        except OSError as exc:
            self._cut()
            raise JournalError(f"cannot write journal {self.folder.name!r}: {exc.strerror}: see its disk") from exc
        ends = list(accumulate(map(len, parts)))
        count = bisect_right(ends, written)
        self._size += ends[count - 1] if count else 0
        if count < len(parts):  # a full disk takes only some of it
            self._cut()
        if not count:
            raise JournalError(f"cannot write journal {self.folder.name!r}: no space left on device: free some")
        return count

    def _cut(self) -> None:
        """Cut off what a failed write left, so that the next record follows a whole one."""
        self._until_check = 0
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as exc:  # what follows the last record is unknown: continue in a new segment
            self._close_segment(sync=False)
            raise JournalError(f"cannot cut journal {self.folder.name!r}: {exc.strerror}: see its disk") from exc

    def _rotate(self, day: int, received_us: int) -> None:
        try:
            self._close_segment()
        except OSError as exc:
            self._give_up_segment(exc)
        header = encode_segment_header(SegmentHeader(self._collector, self._stream, self.next_seq, received_us))
        path = self.folder / f"{name_of_segment(received_us, self.next_seq)}{SUFFIX}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # it may have been deleted
            if is_bare(path):  # left by an earlier try
                path.unlink()
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as exc:
            raise JournalError(f"cannot begin journal segment {path.name!r}: {exc.strerror}: see its disk") from exc
        with self._lock:
            self._fd, self._size, self._day, self._name = fd, 0, day, segment_name(path)
        try:
            self._write([header])
            os.fsync(fd)
            sync_folder(self.folder)
        except OSError as exc:
            self._drop_segment(path)
            raise JournalError(f"cannot begin journal segment {path.name!r}: {exc.strerror}: see its disk") from exc
        except JournalError:
            self._drop_segment(path)
            raise
        self.segment = segment_name(path)
        self._behind = order_of(self.segment)

    def _drop_segment(self, path: Path) -> None:
        """Remove a segment without records: the next try uses the same name."""
        self._close_segment(sync=False)
        with contextlib.suppress(OSError):
            path.unlink()

    def _sync_now(self) -> None:
        try:
            self._sync()
        except OSError as exc:
            self._give_up_segment(exc)

    def _close_segment(self, *, sync: bool = True) -> None:
        with self._lock:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                try:
                    if sync:
                        os.fsync(fd)
                        self._note_synced(self._size)
                finally:
                    os.close(fd)

    def _give_up_segment(self, error: OSError) -> None:
        """Continue in a new segment: after a failed fsync nobody knows what the disk has of this one."""
        self._sync_error = None
        self._close_segment(sync=False)
        raise JournalError(f"cannot sync journal {self.folder.name!r}: {error.strerror}: see its disk") from error

    def _sync(self) -> None:
        began_s, size = time.monotonic(), self._size  # what is written meanwhile may not be covered
        os.fdatasync(self._fd)
        self.syncs.add(time.monotonic() - began_s)
        self._note_synced(size)

    def _note_synced(self, size: int) -> None:
        self.synced = Position(self._name, size)
        self.when_synced()

    def _sync_along(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._dirty.clear()
            try:
                with self._lock:
                    if self._fd >= 0:
                        self._sync()
                        _forget(self._fd)
            except OSError as exc:
                self._sync_error = exc
            self._closing.wait(self._limits.fsync_ms / 1000)


def _forget(fd: int) -> None:
    """Let the kernel drop cached data that is on disk: a journal is read once, soon after it is written.

    Otherwise it displaces the database's pages. On a virtual machine, reusing the same pages is also much
    cheaper than taking new ones.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
