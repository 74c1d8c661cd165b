"""Blocks: what a message of the broker holds, and its names. Pure.

A block is a range of synced bytes of a segment, with the segment's header, so that whoever receives any block of a
segment can read it, and with a checksum over everything, so that nothing has to be believed.

    magic 'TKB' version | flags | collector, stream, segment, header: length and bytes | offset | data | CRC-32C
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import google_crc32c

from ingest.errors import CorruptionError, VersionError
from ingest.model.records import SEGMENT_NAME, order_of

BLOCK_BYTES_MAX = 64 * 2**10  # of data
MAGIC, VERSION = b"TKB", 1
LAST = 1  # flag: nothing comes behind this block in its segment
_HEAD = struct.Struct("<3sBB4HQI")  # ..., lengths of three names and a header, offset, length of the data
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Block:
    """A range of bytes of a segment.

    Attributes
    ----------
    collector, stream, segment
        Whose bytes they are.
    header
        The segment's header, as it begins with.
    offset
        Where the bytes begin in the segment.
    data
        The bytes; none: only `is_last` is said.
    is_last
        Whether the segment ends with them.
    """

    collector: str
    stream: str
    segment: str
    header: bytes
    offset: int
    data: bytes
    is_last: bool

    @property
    def end(self) -> int:
        """Where the bytes end in the segment."""
        return self.offset + len(self.data)

    @property
    def place(self) -> tuple[tuple[int, str], int]:
        """Position in the stream, for sorting."""
        return order_of(self.segment), self.offset

    @property
    def message_id(self) -> str:
        """What the broker knows a repetition by; the end of a segment may be a message without data."""
        return f"{self.collector}/{self.stream}/{self.segment}/{self.offset}{'' if self.data else '/end'}"

    def encode(self) -> bytes:
        """Return the payload of a message."""
        assert len(self.data) <= BLOCK_BYTES_MAX
        names = [name.encode() for name in (self.collector, self.stream, self.segment)]
        parts = [*names, self.header]
        head = _HEAD.pack(MAGIC, VERSION, LAST * self.is_last, *map(len, parts), self.offset, len(self.data))
        body = b"".join((head, *parts, self.data))
        return body + _CRC.pack(google_crc32c.value(body))


def decode_block(payload: bytes) -> Block:
    """Return the block of a message.

    Raises
    ------
    CorruptionError
        If it was cut, altered or is no block.
    VersionError
        If a newer program made it.
    """
    if len(payload) < _HEAD.size + _CRC.size or payload[: len(MAGIC)] != MAGIC:
        raise CorruptionError(f"no block of a journal: it begins with {payload[:4]!r}")
    body, (crc,) = payload[: -_CRC.size], _CRC.unpack(payload[-_CRC.size :])
    if google_crc32c.value(body) != crc:
        raise CorruptionError(f"block of {len(payload)} bytes does not match its checksum")
    _, version, flags, *lengths, offset, size = _HEAD.unpack_from(body)
    if version > VERSION:
        raise VersionError(f"block has version {version}, this program reads {VERSION}: install a newer tickline")
    parts, at = [], _HEAD.size
    for length in (*lengths, size):
        parts.append(body[at : at + length])
        at += length
    collector, stream, segment = (part.decode("utf-8", "replace") for part in parts[:3])
    if at != len(body) or not SEGMENT_NAME.fullmatch(segment):
        raise CorruptionError(f"block of {len(payload)} bytes names segment {segment[:100]!r} and has another length")
    return Block(collector, stream, segment, parts[3], offset, parts[4], bool(flags & LAST))


def _token(name: str) -> str:
    """Return a name as one word of a subject, where a period separates words."""
    return name.replace(".", "~")


def stream_of(collector: str) -> str:
    """Return the name of a collector's stream at the broker."""
    return f"TICKLINE-{_token(collector)}"


def subject_of(collector: str, stream: str) -> str:
    """Return the subject of a stream's blocks; "*" for the stream means each of the collector.

    Examples
    --------
    >>> subject_of("desk.1", "2"), subject_of("desk", "*")
    ('tick.desk~1.2', 'tick.desk.*')
    """
    return f"tick.{_token(collector)}.{_token(stream)}"


def committed_subject(collector: str) -> str:
    """Return the subject on which a collector is told what is committed."""
    return f"tick-committed.{_token(collector)}"


def universe_subject(collector: str) -> str:
    """Return the subject on which a collector is asked for its keys, and given others."""
    return f"tick-universe.{_token(collector)}"
