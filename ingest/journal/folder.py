"""The journal folder: names, order and sizes of segments, the lock, recovery after a crash.

A stream is the folder `journal/<collector>/<stream>/`. Its segments are named `<IST day>-<first seq>`
with the suffix `.journal` while being written, and `.journal.zst` once closed and compressed. The
number of the first record orders them, whatever the clock said; a file with another name is not ours
and is left alone. `writer` appends, `reader` follows it, `housekeeping` compresses and deletes;
`format` defines the bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ingest.errors import CorruptionError, JournalError
from ingest.journal.compression import ZstdError, unpacked
from ingest.journal.format import MAGIC, MARKER_BYTES, SegmentHeader, decode_segment_header, parse_records
from ingest.market.shown_time import ist
from ingest.market.time import market_day, utc_of_us
from ingest.model.records import SEGMENT_NAME, order_of

log = logging.getLogger(__name__)

SUFFIX = ".journal"
COMPRESSED_SUFFIX = ".journal.zst"
READ_BYTES = 4 * 2**20  # read from a segment at a time during recovery
_said: set[Path] = set()  # files already reported not to be segments
_known: set[Path] = set()  # files whose header proved them to be segments
HEADER_BYTES_MAX = 64 * 2**10  # of a segment; the meta takes a few hundred bytes


def day_of(received_us: int) -> str:
    """Return the IST day of a receive time, as used in segment names: `20251215`."""
    return market_day(utc_of_us(received_us)).strftime("%Y%m%d")


def name_of_segment(received_us: int, first_seq: int) -> str:
    """Return the name of the segment that begins with this record."""
    return f"{day_of(received_us)}-{first_seq:015d}"


def segment_name(path: Path) -> str:
    """Return the name of a segment without its suffixes."""
    return path.name.partition(".")[0]


def is_stream(name: str) -> bool:
    """Return whether a folder of a collector is a stream: streams are numbered from 1."""
    return name.isascii() and name.isdecimal() and name[0] != "0"


def segments_of(folder: Path) -> list[Path]:
    """Return the segments of a stream, oldest first; none if the folder does not exist.

    If a segment exists in both forms, as after interrupted compression, the original counts. Anything else in the
    folder is reported once and left alone: copies, dangling links, folders, pipes.

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    found: dict[str, Path] = {}
    try:
        listed = _listed(folder)
    except FileNotFoundError:
        return []
    for path in reversed(listed):
        suffix = next((suffix for suffix in (SUFFIX, COMPRESSED_SUFFIX) if path.name.endswith(suffix)), None)
        if suffix is None:
            continue
        if _is_segment(path, path.name.removesuffix(suffix)):
            found[segment_name(path)] = path
        elif path.is_symlink() or path.exists():
            _say_stray(path)
        elif (packed := folder / f"{segment_name(path)}{COMPRESSED_SUFFIX}").is_file():  # compressed in the meantime
            found[segment_name(path)] = packed
    return [found[name] for name in sorted(found, key=order_of)]


def _listed(folder: Path) -> list[Path]:
    """List a folder until two listings agree; the compressed form of a segment sorts after the original.

    A segment that is compressed during a listing may appear in neither form.
    """
    listed = sorted(folder.iterdir())
    while (again := sorted(folder.iterdir())) != listed:
        listed = again
    return listed


def _is_segment(path: Path, name: str) -> bool:
    """Return whether a file is the segment its name says, not a copy; if the header is damaged, trust the name."""
    if not SEGMENT_NAME.fullmatch(name) or not path.is_file():
        return False
    if path not in _known:
        try:
            header = read_header(path)
        except (OSError, JournalError):
            return path.suffix != SUFFIX or _may_be_ours(path)
        if name_of_segment(header.created_us, header.first_seq) != name:
            return False
        _known.add(path)
    return True


def _may_be_ours(path: Path) -> bool:
    """Return whether a file without a whole header can be the remains of a segment after a crash; a text cannot."""
    try:
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES_MAX)
    except OSError:
        return True
    return MAGIC.startswith(data[: len(MAGIC)].rstrip(b"\0")) or MARKER_BYTES in data


def _say_stray(path: Path) -> None:
    if path not in _said:
        _said.add(path)
        log.warning("file in the journal's folder is no segment of it and is left alone path=%s", path)


def read_header(path: Path) -> SegmentHeader:
    """Return the header of a segment, compressed or not.

    Raises
    ------
    CorruptionError
        If the file is not a segment, or its header is damaged.
    VersionError
        If a newer program wrote it.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        stream = file if path.suffix == SUFFIX else unpacked(file)
        try:
            return decode_segment_header(stream.read(HEADER_BYTES_MAX), segment_name(path))[0]
        except ZstdError as exc:
            raise CorruptionError(f"segment {path.name!r} is damaged: {exc}") from exc


def bytes_of(paths: Iterable[Path]) -> int:
    """Return the total size of files; a file compressed or deleted in the meantime counts as zero."""
    used = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            used += path.stat().st_size
    return used


def sync_folder(folder: Path) -> None:
    """Make the name of a new file survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class JournalLock:
    """Reserve a collector's journal for one process; the kernel releases it when the process dies."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "lock").open("a+")
        except OSError as exc:
            raise JournalError(
                f"journal {str(folder)!r} cannot be used: {exc.strerror}: see its disk, or set TICKLINE_HOME to a "
                "folder of yours"
            ) from exc
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
        self._file.write(f"process {os.getpid()} since {ist(datetime.now(UTC).replace(microsecond=0))}")
        self._file.flush()

    def release(self) -> None:
        """Release the journal to other processes."""
        self._file.close()


def recover(folder: Path) -> int:
    """Cut the torn tail of a stream's newest segment; return the seq after its last record.

    A segment whose header did not reach the disk completely holds nothing and is removed.

    Raises
    ------
    VersionError
        If a newer program wrote it: nothing is changed.
    JournalError
        If the folder or the segment cannot be read, or cannot be cut.
    """
    try:
        return _recover(folder)
    except OSError as exc:
        where = exc.filename or folder
        raise JournalError(f"journal cannot be read: {str(where)!r}: {exc.strerror}: make it usable") from exc


def _recover(folder: Path) -> int:
    next_seq = 1
    for path in reversed(segments_of(folder)):
        name = segment_name(path)
        try:
            found = _scan(path)
        except CorruptionError:
            size = path.stat().st_size
            if path.suffix != SUFFIX or size >= HEADER_BYTES_MAX:
                raise
            if kept := parse_records(path.read_bytes(), 0, final=True).records:  # only the header is damaged
                log.error("journal segment has a damaged header and is left as it is segment=%s bytes=%d", name, size)
                return max(next_seq, kept[-1].seq + 1)
            log.warning("journal segment without a header removed segment=%s bytes=%d", name, size)
            path.unlink()
            continue
        if not found.last_seq and path.suffix == SUFFIX:
            # The writer died right after the header. The next segment gets the same name.
            log.warning("journal segment without a record removed segment=%s bytes=%d", name, found.size)
            path.unlink()
            next_seq = max(next_seq, found.first_seq)
            continue
        if found.end < found.size and path.suffix == SUFFIX:
            log.warning("journal tail cut segment=%s bytes=%d", name, found.end)
            os.truncate(path, found.end)
        return max(next_seq, found.last_seq + 1 if found.last_seq else found.first_seq)
    return next_seq


def is_bare(path: Path) -> bool:
    """Return whether a file is a segment that never got its first record."""
    if not path.is_file() or path.stat().st_size >= HEADER_BYTES_MAX or not _may_be_ours(path):
        return False
    return not parse_records(path.read_bytes(), 0, final=True).records


class _Scanned(NamedTuple):
    """Content of a segment."""

    first_seq: int  # expected seq of its first record
    last_seq: int  # of its last record; 0: there is none
    end: int  # end of that record, bytes
    size: int


def _scan(path: Path) -> _Scanned:
    """Read a segment to its end, piece by piece.

    Raises
    ------
    CorruptionError
        If the header, or a compressed segment, is damaged.
    VersionError
        If a newer program wrote it.
    """
    with path.open("rb") as file:
        stream = file if path.suffix == SUFFIX else unpacked(file)
        try:
            data = stream.read(HEADER_BYTES_MAX)
            header, at = decode_segment_header(data, segment_name(path))
            data, size = data[at:], len(data)
            last_seq, end = 0, at
            while True:
                piece = stream.read(READ_BYTES)
                size += len(piece)
                # Nothing more follows: a damaged length that reaches past the end is damage, not a torn tail.
                parsed = parse_records(data + piece, at, final=not piece)
                if parsed.records:
                    last_seq, end = parsed.records[-1].seq, parsed.records[-1].end_offset
                data, at = (data + piece)[parsed.consumed :], at + parsed.consumed
                if not piece:
                    return _Scanned(header.first_seq, last_seq, end, size)
        except ZstdError as exc:
            raise CorruptionError(f"segment {path.name!r} is damaged: {exc}") from exc
