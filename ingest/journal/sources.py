"""Sources of the consumer's records: the journal while it grows, or files.

A source returns records in order, each read from one segment. A recording is one segment named after
its first frame, so that the same recording, whole or cut short, is recognised again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import google_crc32c

from ingest.errors import CorruptionError, JournalError
from ingest.journal.compression import PACKED_MAGIC, ZstdError, unpacked
from ingest.journal.folder import HEADER_BYTES_MAX, SUFFIX, name_of_segment
from ingest.journal.format import MAGIC, decode_segment_header
from ingest.journal.reader import JournalReader
from ingest.journal.recording import RecordedFrame, read_recording
from ingest.model.records import Record, RecordKind

READ_BYTES = 2**20  # read from a segment at a time


class Source(Protocol):
    """A sequence of records."""

    @property
    def segment(self) -> str:
        """Segment of the records that `read` returned last."""

    @property
    def finished(self) -> bool:
        """True once no more records will come."""

    def read(self, bytes_max: int) -> list[Record]:
        """Return the next records, [] if there are none at present."""

    def left_bytes(self) -> int:
        """Return about how many bytes of the files have not been read yet."""

    def close(self) -> None:
        """Close the files."""


class JournalSource:
    """A stream of the journal, live (`follow`) or as files."""

    def __init__(self, reader: JournalReader) -> None:
        self.reader = reader

    @property
    def segment(self) -> str:
        """Segment of the records that `read` returned last."""
        return self.reader.segment

    @property
    def finished(self) -> bool:
        """True once the writer has closed and everything was read."""
        return self.reader.finished

    def read(self, bytes_max: int) -> list[Record]:
        """Return the next records, [] if there are none at present."""
        return self.reader.read(bytes_max)

    def left_bytes(self) -> int:
        """Return how many bytes have not been read yet; of a compressed segment, too few."""
        return self.reader.backlog_bytes()

    def close(self) -> None:
        """Close the open segment."""
        self.reader.close()


class RecordingSource:
    """A `.frames.gz` recording. Intact frames are returned; damage is kept in `error`.

    Parameters
    ----------
    path
        The recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished = False
        self.error: CorruptionError | None = None
        self._expected: deque[tuple[int, str]] = deque()
        self._frames = self._read()
        self._file: BinaryIO | None = None
        self._size = 0
        self._seq = 0
        self._crc = 0
        self._first: RecordedFrame | None = next(self._frames, None)
        if self._first is None:
            raise self.error or JournalError(f"recording {path.name!r} is empty: there is nothing to replay")
        crc = google_crc32c.value(self._first.payload)
        self.segment = f"{self._first.received_ms}-{crc:08x}"

    def expect(self, digests: Sequence[tuple[int, str]]) -> None:
        """Set what an earlier replay committed: byte offsets, each with the CRC-32C of all payloads up to it.

        If this is another recording, reading past the first offset that differs raises `JournalError`.
        """
        self._expected = deque(digests)

    def read(self, bytes_max: int) -> list[Record]:
        """Return the next frames as records; seq counts them from 1."""
        records: list[Record] = []
        size = 0
        while size < bytes_max:
            frame = self._first or next(self._frames, None)
            self._first = None
            if frame is None:
                self.finished = True
                break
            self._seq += 1
            self._check(frame)
            records.append(
                Record(RecordKind.FRAME, self._seq, frame.received_ms * 1000, frame.payload, frame.end_offset)
            )
            size += len(frame.payload)
        return records

    def left_bytes(self) -> int:
        """Return how many bytes of the compressed file have not been read yet."""
        return 0 if self.finished or self._file is None else max(self._size - self._file.tell(), 0)

    def close(self) -> None:
        """Close the file."""
        self._file = None
        self._frames.close()

    def _read(self) -> Generator[RecordedFrame]:
        try:
            yield from read_recording(self.path, self._opened)
        except CorruptionError as exc:
            self.error = exc

    def _opened(self, file: BinaryIO) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size

    def _check(self, frame: RecordedFrame) -> None:
        if not self._expected:
            return
        self._crc = google_crc32c.extend(self._crc, frame.payload)
        if frame.end_offset < self._expected[0][0]:
            return
        if (frame.end_offset, f"{self._crc:08x}") != self._expected.popleft():
            raise JournalError(
                f"recording {self.path.name!r} begins like one that was replayed before but is another before "
                f"byte {frame.end_offset}: replay it with --collector NAME to write it as a recording of its own"
            )


class EndingSource:
    """A source that ends, after the records already read, on request.

    Parameters
    ----------
    source
        Where the records come from; its creator closes it.
    is_over
        Returns whether to stop reading.
    """

    def __init__(self, source: Source, is_over: Callable[[], bool]) -> None:
        self._source, self._is_over = source, is_over

    @property
    def segment(self) -> str:
        """Segment of the records that `read` returned last."""
        return self._source.segment

    @property
    def finished(self) -> bool:
        """True once no more records will come."""
        return self._is_over() or self._source.finished

    def read(self, bytes_max: int) -> list[Record]:
        """Return the next records, [] if there are none at present."""
        return [] if self._is_over() else self._source.read(bytes_max)

    def left_bytes(self) -> int:
        """Return about how many bytes of the files have not been read yet."""
        return self._source.left_bytes()

    def close(self) -> None:
        """Close the files."""
        self._source.close()


def frames_of(path: Path) -> Iterator[bytes]:
    """Yield the frames of a recording or a journal segment, without connection events.

    Raises
    ------
    CorruptionError
        After the last intact frame, if the file is cut short or damaged.
    JournalError
        If the file cannot be read.
    """
    if not is_segment(path):
        yield from (frame.payload for frame in read_recording(path))
        return
    reader = JournalReader(lambda: [path], follow=False)
    try:
        while records := reader.read(READ_BYTES):
            yield from (record.payload for record in records if record.kind == RecordKind.FRAME)
    finally:
        reader.close()
    if reader.corrupt_bytes:
        raise CorruptionError(f"segment {path.name!r} has lost {reader.corrupt_bytes} bytes: the other frames are good")


def is_segment(path: Path) -> bool:
    """Return whether a file is a segment of our journal, compressed or not (otherwise it is a recording)."""
    try:
        if not path.is_file():
            raise JournalError(f"cannot read {str(path)!r}: it is no file: name recordings and segments")
        return _begin(path, len(MAGIC)) == MAGIC
    except OSError as exc:
        raise JournalError(f"cannot read {str(path)!r}: {exc.strerror}") from exc


def read_segment_header(path: Path) -> tuple[str, str]:
    """Return the collector and stream that a segment belongs to."""
    header, _ = decode_segment_header(_begin(path, HEADER_BYTES_MAX), path.name)
    return header.collector, header.stream


def name_in_header(path: Path) -> str:
    """Return the segment name of a file, whatever the file is called now, from its first record."""
    header, _ = decode_segment_header(_begin(path, HEADER_BYTES_MAX), path.name)
    return name_of_segment(header.created_us, header.first_seq)


def _begin(path: Path, size: int) -> bytes:
    """Read the first bytes of a file, unpacked if it is compressed."""
    with path.open("rb") as file:
        if path.suffix != SUFFIX and file.read(len(PACKED_MAGIC)) == PACKED_MAGIC:
            file.seek(0)
            try:
                return unpacked(file).read(size)
            except ZstdError:
                return b""
        file.seek(0)
        return file.read(size)
