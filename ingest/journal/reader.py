"""Read a stream of the journal, following its writer through the file.

A file instead of a queue: only the disk bounds the backlog, a slow database slows nothing down, and
live recording and replay share one path.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ingest.errors import CorruptionError, JournalError, VersionError
from ingest.journal.compression import ZstdError, unpack, unpacked_size
from ingest.journal.folder import HEADER_BYTES_MAX, SUFFIX, bytes_of, segment_name
from ingest.journal.format import decode_segment_header, parse_records
from ingest.model.records import Position, Record, order_of

log = logging.getLogger(__name__)

RETRY_S = 1.0  # before a disk that could not be read is tried again
OPENINGS = 3  # of one segment: as written, as compressed, and once more


class JournalReader:
    """Read a stream's records in order. Each reader is used by one task.

    Parameters
    ----------
    segments
        Lists the stream's segments, oldest first; called again whenever one ends.
    position
        Where to begin; None is the oldest record.
    follow
        True: the writer is at the end of the newest segment, and more will come.
        False: the newest segment ends there.
    name_of
        Returns the name of the segment in a file.
    newest
        Returns the name of the segment that the writer is in; "": unknown, the segments must be listed.

    Attributes
    ----------
    segment
        Name of the segment that the last `read` came from.
    error
        Why nothing can be read at present; "" if it can.
    """

    def __init__(
        self,
        segments: Callable[[], list[Path]],
        position: Position | None = None,
        *,
        follow: bool,
        name_of: Callable[[Path], str] = segment_name,
        newest: Callable[[], str] = lambda: "",
    ) -> None:
        self.segment = position.segment if position else ""
        self.offset = position.offset if position else 0
        self.corrupt_bytes = 0
        self.finished = False
        self.error = ""
        self._retry_at = 0.0  # by the monotonic clock
        self._segments = segments
        self._name_of = name_of
        self._newest = newest
        self._follow = follow
        self._fd = -1

    def read(self, bytes_max: int) -> list[Record]:
        """Return the next records of one segment, about `bytes_max` at most; [] if there are none at present.

        A reader that follows a writer waits for the disk, as the writer does: it logs an error and tries again.

        Raises
        ------
        JournalError
            If the disk cannot be read, and no writer is followed.
        VersionError
            If a newer program wrote a segment.
        """
        if self.error and self._follow and time.monotonic() < self._retry_at:
            return []
        try:
            records = self._read(bytes_max)
        except OSError as exc:
            self.close()
            where = f" {str(exc.filename or self.segment)!r}" if exc.filename or self.segment else ""
            text = f"cannot read journal{where}: {exc.strerror}: see its disk"
            if not self._follow:
                raise JournalError(text) from exc
            if text != self.error:
                log.error("journal cannot be read, trying again in_s=%g error=%s", RETRY_S, text)
            self.error, self._retry_at = text, time.monotonic() + RETRY_S
            return []
        if self.error:
            log.info("journal can be read again")
            self.error = ""
        return records

    def _read(self, bytes_max: int) -> list[Record]:
        while not self.finished:
            if self._fd < 0 and not self._open():
                self.finished = not self._follow
                return []
            # Checked before reading: once the writer has moved on, nothing more comes into this segment.
            complete = not self._follow or self._has_next()
            # Not `bytes_max` at once: the memory for it costs more than a few records.
            left = max(os.fstat(self._fd).st_size - self.offset, 0)
            data = os.pread(self._fd, min(bytes_max, left), self.offset)
            at_end = len(data) < bytes_max
            parsed = parse_records(data, self.offset, final=complete and at_end)
            if not parsed.consumed and not at_end:
                bytes_max *= 2  # one record is larger than the bytes read
                continue
            self.offset += parsed.consumed
            self._note_corrupt(parsed.corrupt_bytes)
            if parsed.records or not (complete and at_end):
                return parsed.records
            self._leave_segment()
        return []

    def open(self) -> bool:
        """Open the next segment to read, unless one is open; return whether there is one."""
        return self._fd >= 0 or self._open()

    def backlog_bytes(self) -> int:
        """Return how many bytes of this stream have not been read yet."""
        ahead = self._ahead()
        # A power cut may have left less of a segment than was already read.
        read = min(self.offset, bytes_of(ahead[:1])) if ahead and self._name_of(ahead[0]) == self.segment else 0
        return max(bytes_of(ahead) - read, 0)

    def seek(self, position: Position | None) -> None:
        """Continue reading from a position; None is the oldest record."""
        self.close()
        self.segment, self.offset = (position.segment, position.offset) if position else ("", 0)
        self.finished = False

    def stop_following(self) -> None:
        """Note that the writer has closed: the end of the newest segment is now the end of the stream."""
        self._follow = False

    def close(self) -> None:
        """Close the open segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> bool:
        for tries_left in reversed(range(OPENINGS)):
            paths = self._ahead()
            if not paths:
                return False
            path = paths[0]
            try:
                fd, lost = open_segment(path)
                break
            except FileNotFoundError:  # compressed or deleted since it was listed
                if not tries_left:
                    raise
        if self._name_of(path) != self.segment or not self.offset:
            try:
                _, self.offset = decode_segment_header(os.pread(fd, HEADER_BYTES_MAX, 0), self._name_of(path))
            except VersionError:
                os.close(fd)
                raise
            except CorruptionError:
                lost += os.fstat(fd).st_size
                os.close(fd)
                if self._follow and len(paths) == 1:
                    return False  # the writer has only just started it
                self.segment = self._name_of(path)
                self._note_corrupt(lost)
                self._leave_segment()
                return not self.finished and self._open()
        self._fd, self.segment = fd, self._name_of(path)
        self._note_corrupt(lost)
        return True

    def _note_corrupt(self, lost: int) -> None:
        if lost:
            self.corrupt_bytes += lost
            log.error("journal bytes skipped segment=%s before=%d bytes=%d", self.segment, self.offset, lost)

    def _has_next(self) -> bool:
        if newest := self._newest():
            return newest != self.segment and order_of(newest) > order_of(self.segment)
        return any(order_of(self._name_of(path)) > order_of(self.segment) for path in self._segments())

    def _ahead(self) -> list[Path]:
        """Return the segments not yet read to their end."""
        return [path for path in self._segments() if order_of(self._name_of(path)) >= order_of(self.segment)]

    def _leave_segment(self) -> None:
        self.close()
        if self._follow or self._has_next():
            self.segment, self.offset = self.segment + "~", 0  # after this segment, before any other
        else:
            self.finished = True


def open_segment(path: Path) -> tuple[int, int]:
    """Open a segment for reading; return its descriptor and how many of its bytes are lost.

    A compressed segment is unpacked, as far as it is intact, into an unnamed file: next to it or, if that disk is
    full, in the system's temporary folder.
    """
    if path.suffix == SUFFIX:
        return os.open(path, os.O_RDONLY), 0
    try:
        return _unpack(path, path.parent)
    except FileNotFoundError:
        raise
    except OSError as exc:
        log.warning("journal segment is unpacked elsewhere segment=%s error=%s", segment_name(path), exc.strerror)
        return _unpack(path, Path(tempfile.gettempdir()))


def _unpack(path: Path, folder: Path) -> tuple[int, int]:
    with path.open("rb") as packed, tempfile.TemporaryFile(dir=folder) as unpacked:
        size = path.stat().st_size  # the least it held, if even its own length is lost
        try:
            size = unpacked_size(packed)
            for part in unpack(packed):
                unpacked.write(part)
        except ZstdError as exc:
            log.error("journal segment damaged segment=%s error=%s", segment_name(path), exc)
        unpacked.flush()
        return os.dup(unpacked.fileno()), max(size - unpacked.tell(), 0)
