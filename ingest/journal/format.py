"""The journal's format on disk, version 2. Pure: bytes in, records out; opens no file.

A segment is one file, little-endian, append-only::

    segment header   magic "TICKJRNL" (8) | version u32 | meta bytes u32 | meta | crc u32
                     meta is JSON: collector, stream, first_seq, created_us
                     crc is CRC-32C of everything before it
                     This much is the same in every version, so a program recognises what it cannot read
    record           marker u32 | payload bytes u32 | crc u32 | kind u16 | socket u16 | seq u64
                     | received_us i64 | payload
                     crc is CRC-32C of everything in the record except marker and crc

    socket           connection of the stream that received it; version 1 has 0 everywhere
    kind             1 frame: one websocket message as received
                     2 connected, 3 subscribed, 4 unsubscribed, 5 disconnected: JSON facts

`seq` counts the records of one collector, from 1, across all its streams and restarts. A reader
that meets invalid bytes looks for the next marker that begins a record; the bytes in between count
as corrupt. An incomplete record at the end is a torn tail, which the writer cuts off.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass

import google_crc32c

from ingest.errors import CorruptionError, VersionError
from ingest.model.records import SOCKETS, Record, RecordKind

MAGIC = b"TICKJRNL"
VERSION = 2
VERSIONS_READ = (1, 2)
MARKER = 0x4B43_49F5  # bytes F5 "ICK": F5 never occurs in UTF-8 text
MARKER_BYTES = MARKER.to_bytes(4, "little")
PAYLOAD_BYTES_MAX = 16 * 2**20  # limit of one message in the feed client

_SEGMENT = struct.Struct("<8sII")
_RECORD = struct.Struct("<IIIHHQq")
_CHECKED = struct.Struct("<IHHQq")  # the part of a record header covered by its crc
_CRC = struct.Struct("<I")
_KINDS = frozenset(RecordKind)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Header of a segment."""

    collector: str
    stream: str
    first_seq: int
    created_us: int


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Return the first bytes of a segment."""
    meta = json.dumps(asdict(header)).encode()
    head = _SEGMENT.pack(MAGIC, VERSION, len(meta)) + meta
    return head + _CRC.pack(google_crc32c.value(head))


def decode_segment_header(data: bytes, name: str) -> tuple[SegmentHeader, int]:
    """Return the header and its length in bytes; `name` of the segment is used in errors.

    Raises
    ------
    CorruptionError
        If the bytes do not begin a segment.
    VersionError
        If they begin a segment of a version that this program cannot read.
    """
    if len(data) < _SEGMENT.size or data[:8] != MAGIC:
        raise CorruptionError(f"{name!r} is not a journal segment: it does not begin with 'TICKJRNL'")
    _, version, length = _SEGMENT.unpack_from(data)
    end = _SEGMENT.size + length
    if len(data) < end + _CRC.size or _CRC.unpack_from(data, end)[0] != google_crc32c.value(data[:end]):
        raise CorruptionError(f"header of journal segment {name!r} is damaged")
    if version not in VERSIONS_READ:
        raise VersionError(
            f"journal segment {name!r} has format version {version!r}, newer than {VERSION}: install a newer tickline"
        )
    return SegmentHeader(**json.loads(data[_SEGMENT.size : end])), end + _CRC.size


def version_of(data: bytes) -> int:
    """Return the format version of a segment that begins with `data`, whether it can be read or not.

    Raises
    ------
    CorruptionError
        If the bytes do not begin a segment.
    """
    if len(data) < _SEGMENT.size or data[:8] != MAGIC:
        raise CorruptionError("not a journal segment: it does not begin with 'TICKJRNL'")
    return int(_SEGMENT.unpack_from(data)[1])


def encode_record(kind: int, seq: int, received_us: int, payload: bytes, socket: int = 0) -> bytes:
    """Encode one record."""
    assert len(payload) <= PAYLOAD_BYTES_MAX
    checked = _CHECKED.pack(len(payload), kind, socket, seq, received_us)
    crc = google_crc32c.extend(google_crc32c.value(checked), payload)
    return _RECORD.pack(MARKER, len(payload), crc, kind, socket, seq, received_us) + payload


class Parsed:
    """Result of `parse_records`: the records, how far they reach, what was skipped."""

    __slots__ = ("consumed", "corrupt_bytes", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.consumed = 0  # input bytes that are done; the rest may be an unfinished record
        self.corrupt_bytes = 0


def parse_records(data: bytes, base_offset: int, *, final: bool) -> Parsed:
    """Parse as many records as `data` holds.

    Parameters
    ----------
    data
        Bytes of a segment that begin at a record.
    base_offset
        Offset of `data` in the segment; `Record.end_offset` counts from the start of the segment.
    final
        No more bytes will follow: an unfinished record at the end is corrupt, not awaited.
    """
    parsed = Parsed()
    position, size = 0, len(data)
    while position < size:
        record, end = _record_at(data, position, base_offset)
        if record is not None:
            parsed.records.append(record)
            position = end
            continue
        if end > size and not final:
            break  # it may still be being written
        following = data.find(MARKER_BYTES, position + 1)
        # Without a marker the last three bytes may be the start of one.
        skipped_to = following if following >= 0 else (size if final else max(position + 1, size - 3))
        parsed.corrupt_bytes += skipped_to - position
        position = skipped_to
    parsed.consumed = position
    return parsed


def _record_at(data: bytes, position: int, base_offset: int) -> tuple[Record | None, int]:
    """Return the record at a position and its end, or None and the end it claims to have."""
    body = position + _RECORD.size
    if body > len(data):
        return None, body
    marker, length, crc, kind, socket, seq, received_us = _RECORD.unpack_from(data, position)
    if marker != MARKER or length > PAYLOAD_BYTES_MAX or kind not in _KINDS or socket >= SOCKETS:
        return None, position
    end = body + length
    if end > len(data):
        return None, end
    payload = data[body:end]
    checked = _CHECKED.pack(length, kind, socket, seq, received_us)
    if google_crc32c.extend(google_crc32c.value(checked), payload) != crc:
        return None, position
    return Record(kind, seq, received_us, payload, base_offset + end, socket), end
