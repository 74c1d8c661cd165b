"""The journal's files: append, group fsync, rotate, recover, read along.

Owns the folder `journal/<collector>/<stream>/` and its segments `<IST day>-<first seq>.journal`.
Knows nothing of what frames mean. The format itself is in `journal_format`.

The reader follows the writer through the file, not through a queue: what is handed over is
bounded by the disk, a slow database slows nothing down, and live and replay are one path.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.journal_format import (
    SegmentHeader,
    decode_segment_header,
    encode_record,
    encode_segment_header,
    parse_records,
)
from ingest.model import Record
from sql.errors import CorruptionError, JournalError

log = logging.getLogger(__name__)

SUFFIX = ".journal"
HEADER_BYTES_MAX = 64 * 2**10  # of a segment; the meta is a few hundred bytes
_IST = timedelta(hours=5, minutes=30)
_IST_US = 19_800_000_000
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a stream: everything before it has been dealt with."""

    segment: str  # file name without suffix
    offset: int


def day_of(received_us: int) -> str:
    """IST day of a receive time, as segment names have it: `20251215`."""
    return (datetime.fromtimestamp(received_us / 1e6, UTC) + _IST).strftime("%Y%m%d")


def segments_of(folder: Path) -> list[Path]:
    """Segments of a stream, oldest first. Names order them: day, then zero-padded first seq."""
    return sorted(folder.glob(f"*{SUFFIX}"))


class JournalLock:
    """Hold a collector's journal for one process; the kernel lets go when the process dies."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise JournalError(
                f"journal {folder.name!r} is in use by {holder}: stop it, or choose another TICKLINE_COLLECTOR"
            ) from exc
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        self._file.flush()

    def release(self) -> None:
        """Let another process have the journal."""
        self._file.close()


class JournalWriter:
    """Append records to the newest segment of a stream. One writer per stream; thread-safe fsync.

    Parameters
    ----------
    folder
        Where the stream's segments are.
    collector, stream
        Names, for the segment header.
    next_seq
        Number of the next record.
    segment_bytes_max
        A segment that has grown past this is closed and the next begun.
    fsync_ms
        Longest time between a record's write and its fsync: what a power cut may cost. 0 syncs
        each record before `append` returns.
    """

    def __init__(
        self,
        folder: Path,
        *,
        collector: str,
        stream: str,
        next_seq: int,
        segment_bytes_max: int,
        fsync_ms: int,
    ) -> None:
        self.folder = folder
        self.next_seq = next_seq
        self.records = 0
        self.bytes = 0
        self._collector, self._stream = collector, stream
        self._segment_bytes_max = segment_bytes_max
        self._fsync_ms = fsync_ms
        self._fd = -1
        self._size = 0
        self._day = -1  # IST day number
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()  # the fsync thread and rotation share the descriptor
        folder.mkdir(parents=True, exist_ok=True)
        self._syncer = threading.Thread(target=self._sync_along, name="journal-fsync", daemon=True)
        if fsync_ms:
            self._syncer.start()

    def append(self, kind: int, payload: bytes, received_us: int) -> int:
        """Write one record and return its seq. When this returns the kernel has it.

        Raises
        ------
        JournalError
            If the disk does not take it; the segment is then as it was before.
        """
        day = (received_us + _IST_US) // _DAY_US
        if self._fd < 0 or self._size >= self._segment_bytes_max or day != self._day:
            self._rotate(day, received_us)
        data = encode_record(kind, self.next_seq, received_us, payload)
        self._write(data)
        seq, self.next_seq = self.next_seq, self.next_seq + 1
        self.records += 1
        self.bytes += len(data)
        if self._fsync_ms:
            self._dirty.set()
        else:
            os.fdatasync(self._fd)
        return seq

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
        except OSError as exc:
            self._undo()
            raise JournalError(f"cannot write journal {self.folder.name!r}: {exc.strerror}") from exc
        if written != len(data):  # a full disk takes part of it
            self._undo()
            raise JournalError(f"cannot write journal {self.folder.name!r}: no space left on device")
        self._size += len(data)

    def _undo(self) -> None:
        os.ftruncate(self._fd, self._size)

    def _rotate(self, day: int, received_us: int) -> None:
        self._close_segment()
        header = encode_segment_header(SegmentHeader(self._collector, self._stream, self.next_seq, received_us))
        path = self.folder / f"{day_of(received_us)}-{self.next_seq:015d}{SUFFIX}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as exc:
            raise JournalError(f"cannot begin journal segment {path.name!r}: {exc.strerror}") from exc
        with self._lock:
            self._fd, self._size, self._day = fd, 0, day
        self._write(header)
        os.fsync(fd)
        _sync_folder(self.folder)

    def _close_segment(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.fsync(self._fd)
                os.close(self._fd)
                self._fd = -1

    def _sync_along(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._dirty.clear()
            with self._lock:
                if self._fd >= 0:
                    os.fdatasync(self._fd)
            self._closing.wait(self._fsync_ms / 1000)

    def close(self) -> None:
        """Sync and close; every record is then on the disk."""
        self._closing.set()
        self._dirty.set()
        if self._syncer.is_alive():
            self._syncer.join()
        self._close_segment()


def _sync_folder(folder: Path) -> None:
    """Make a new file's name survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def recover(folder: Path) -> int:
    """Cut the torn tail of a stream's newest segment; return the seq after its last record.

    A segment whose header never reached the disk whole holds nothing and is removed.
    """
    for path in reversed(segments_of(folder)):
        data = path.read_bytes()
        try:
            header, start = decode_segment_header(data)
        except CorruptionError:
            if len(data) >= HEADER_BYTES_MAX:
                raise
            log.warning("journal segment without a header removed segment=%s bytes=%d", path.stem, len(data))
            path.unlink()
            continue
        parsed = parse_records(data[start:], start, final=False)
        end = parsed.records[-1].end_offset if parsed.records else start
        if end < len(data):
            log.warning("journal tail cut segment=%s bytes=%d", path.stem, len(data) - end)
            os.truncate(path, end)
        return parsed.records[-1].seq + 1 if parsed.records else header.first_seq
    return 1


class JournalReader:
    """Read a stream's records in order. One reader, one task.

    Parameters
    ----------
    segments
        Lists the stream's segments, oldest first; asked again whenever one ends.
    position
        Where to begin; None is the oldest record.
    follow
        True: the end of the newest segment is where the writer is, more will come.
        False: it is the end.

    Attributes
    ----------
    segment
        Name of the segment that the last `read` came from.
    """

    def __init__(self, segments: Callable[[], list[Path]], position: Position | None = None, *, follow: bool) -> None:
        self.segment = position.segment if position else ""
        self.offset = position.offset if position else 0
        self.corrupt_bytes = 0
        self.finished = False
        self._segments = segments
        self._follow = follow
        self._fd = -1

    def read(self, bytes_max: int) -> list[Record]:
        """Return the next records, of one segment, about `bytes_max` at most; [] when there are none now."""
        while not self.finished:
            if self._fd < 0 and not self._open():
                self.finished = not self._follow
                return []
            # Asked before reading: after the writer has moved on nothing more comes into this one.
            complete = not self._follow or self._has_next()
            data = os.pread(self._fd, bytes_max, self.offset)
            at_end = len(data) < bytes_max
            parsed = parse_records(data, self.offset, final=complete and at_end)
            if not parsed.consumed and not at_end:
                bytes_max *= 2  # one record is larger than what was read
                continue
            self.offset += parsed.consumed
            if parsed.corrupt_bytes:
                self.corrupt_bytes += parsed.corrupt_bytes
                log.error(
                    "journal bytes skipped segment=%s before=%d bytes=%d",
                    self.segment, self.offset, parsed.corrupt_bytes,
                )  # fmt: skip
            if parsed.records or not (complete and at_end):
                return parsed.records
            self._leave_segment()
        return []

    def backlog_bytes(self) -> int:
        """Bytes of this stream that have not been read yet."""
        ahead = [path for path in self._segments() if path.stem >= self.segment]
        read = self.offset if ahead and ahead[0].stem == self.segment else 0
        return sum(path.stat().st_size for path in ahead) - read

    def stop_following(self) -> None:
        """Say that the writer has closed: the end of the newest segment is now the end."""
        self._follow = False

    def close(self) -> None:
        """Close the open segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> bool:
        paths = [path for path in self._segments() if path.stem >= self.segment]
        if not paths:
            return False
        path = paths[0]
        fd = os.open(path, os.O_RDONLY)
        if path.stem != self.segment or not self.offset:
            try:
                _, self.offset = decode_segment_header(os.pread(fd, HEADER_BYTES_MAX, 0))
            except CorruptionError as exc:
                os.close(fd)
                if self._follow and len(paths) == 1:
                    return False  # the writer has just begun it
                raise CorruptionError(f"segment {path.name!r}: {exc}") from exc
        self._fd, self.segment = fd, path.stem
        return True

    def _has_next(self) -> bool:
        return any(path.stem > self.segment for path in self._segments())

    def _leave_segment(self) -> None:
        self.close()
        if self._follow or self._has_next():
            self.segment, self.offset = self.segment + "~", 0  # after this one, before any other
        else:
            self.finished = True


def now_us() -> int:
    """Our clock, epoch microseconds."""
    return time.time_ns() // 1000
