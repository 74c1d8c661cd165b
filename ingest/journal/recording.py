"""Recordings (`.frames.gz`): gzip of records, each a frame with its receive time.

Owns the format: little-endian int64 milliseconds since the epoch, uint32 payload length,
then the payload, one FeedResponse. Knows nothing of the payload's content.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ingest.errors import CorruptionError, JournalError

HEADER = struct.Struct("<qI")
FRAME_BYTES_MAX = 16 * 2**20  # limit of one message in the feed client


class RecordedFrame(NamedTuple):
    """One frame of a recording."""

    end_offset: int  # bytes of the uncompressed recording up to and including this frame
    received_ms: int
    payload: bytes


def read_recording(path: Path, opened: Callable[[BinaryIO], None] = lambda _: None) -> Iterator[RecordedFrame]:
    """Yield the frames of a recording in order.

    Parameters
    ----------
    path
        The recording.
    opened
        Called with the compressed file, whose position says how much of it is read.

    Raises
    ------
    CorruptionError
        After the last intact frame, if the file is cut short or damaged.
    JournalError
        If the file cannot be opened.
    """
    offset = 0
    try:
        with path.open("rb") as file, gzip.open(file, "rb") as stream:
            opened(file)
            while header := stream.read(HEADER.size):
                if len(header) < HEADER.size:
                    raise EOFError
                received_ms, length = HEADER.unpack(header)
                if length > FRAME_BYTES_MAX and not offset:
                    raise EOFError
                if length > FRAME_BYTES_MAX:
                    raise CorruptionError(
                        f"recording {path.name!r} is damaged at byte {offset}: frame length {length} is "
                        f"over {FRAME_BYTES_MAX}: the frames before it are good"
                    )
                payload = stream.read(length)
                if len(payload) < length:
                    raise EOFError
                offset += HEADER.size + length
                yield RecordedFrame(offset, received_ms, payload)
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        if not offset:
            raise CorruptionError(
                f"file {path.name!r} is no recording (.frames.gz) and no segment of a journal, or its first frame is "
                "cut off: name another"
            ) from exc
        raise CorruptionError(
            f"recording {path.name!r} is cut short or damaged at byte {offset}: "
            "the frames before it are good; get the whole file and replay it again"
        ) from exc
    except OSError as exc:
        raise JournalError(f"cannot read recording {str(path)!r}: {exc.strerror or exc}") from exc


def write_recording(path: Path, frames: Iterable[tuple[int, bytes]]) -> int:
    """Write `(received_ms, payload)` pairs as a recording; return their number."""
    count = 0
    with gzip.open(path, "wb", compresslevel=6) as stream:
        for received_ms, payload in frames:
            stream.write(HEADER.pack(received_ms, len(payload)) + payload)
            count += 1
    return count
