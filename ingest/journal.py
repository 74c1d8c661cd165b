"""The journal's folder: names, order and sizes of segments, the lock, recovery after a crash.

A stream is the folder `journal/<collector>/<stream>/`. Its segments are `<IST day>-<first seq>`
with the suffix `.journal` while they are written and `.journal.zst` when they are closed and
compressed. Names order them. `journal_writer` appends, `journal_reader` reads along,
`journal_keeper` compresses and deletes; the format itself is in `journal_format`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import zstandard

from ingest.journal_format import decode_segment_header, parse_records
from ingest.model import IST_OFFSET_MS
from sql.errors import CorruptionError, JournalError

log = logging.getLogger(__name__)

SUFFIX = ".journal"
COMPRESSED_SUFFIX = ".journal.zst"
HEADER_BYTES_MAX = 64 * 2**10  # of a segment; the meta is a few hundred bytes


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a stream: everything before it has been dealt with."""

    segment: str  # file name without suffix
    offset: int  # bytes, uncompressed


def day_of(received_us: int) -> str:
    """IST day of a receive time, as segment names have it: `20251215`."""
    return datetime.fromtimestamp(received_us / 1e6 + IST_OFFSET_MS / 1000, UTC).strftime("%Y%m%d")


def segment_name(path: Path) -> str:
    """Name of a segment without its suffixes."""
    return path.name.partition(".")[0]


def segments_of(folder: Path) -> list[Path]:
    """Segments of a stream, oldest first: day, then zero-padded first seq.

    Of one that is there twice, as when compressing was interrupted, the original counts.
    """
    found = {segment_name(path): path for path in folder.glob(f"*{COMPRESSED_SUFFIX}")}
    found |= {segment_name(path): path for path in folder.glob(f"*{SUFFIX}")}
    return [found[name] for name in sorted(found)]


def now_us() -> int:
    """Our clock, epoch microseconds."""
    return time.time_ns() // 1000


def sync_folder(folder: Path) -> None:
    """Make a new file's name survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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


def recover(folder: Path) -> int:
    """Cut the torn tail of a stream's newest segment; return the seq after its last record.

    A segment whose header never reached the disk whole holds nothing and is removed.

    Raises
    ------
    VersionError
        If a newer program wrote it: nothing is touched.
    """
    next_seq = 1
    for path in reversed(segments_of(folder)):
        data = read_segment(path)
        try:
            header, start = decode_segment_header(data, segment_name(path))
        except CorruptionError:
            if len(data) >= HEADER_BYTES_MAX:
                raise
            log.warning("journal segment without a header removed segment=%s bytes=%d", segment_name(path), len(data))
            path.unlink()
            continue
        # Nothing more will come: a damaged length that reaches behind the end is damage, not a torn tail.
        parsed = parse_records(data[start:], start, final=True)
        if not parsed.records and path.suffix == SUFFIX:
            # The writer died behind the header. The next segment takes the same name.
            log.warning("journal segment without a record removed segment=%s bytes=%d", segment_name(path), len(data))
            path.unlink()
            next_seq = max(next_seq, header.first_seq)
            continue
        end = parsed.records[-1].end_offset if parsed.records else start
        if end < len(data) and path.suffix == SUFFIX:
            log.warning("journal tail cut segment=%s bytes=%d", segment_name(path), len(data) - end)
            os.truncate(path, end)
        return max(next_seq, parsed.records[-1].seq + 1 if parsed.records else header.first_seq)
    return next_seq


def read_segment(path: Path) -> bytes:
    """Return the uncompressed bytes of a segment.

    Raises
    ------
    CorruptionError
        If a compressed segment is damaged.
    """
    if path.suffix == SUFFIX:
        return path.read_bytes()
    try:
        return zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True).read()
    except zstandard.ZstdError as exc:
        raise CorruptionError(f"segment {path.name!r} is damaged: {exc}") from exc
