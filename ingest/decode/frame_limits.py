"""Limits of a frame's content, checked on its bytes before protobuf parses it. Pure.

Protobuf builds every map and message before the caller can count them: 600,000 names in a `market_info` frame of
7 MB took 6 s, during which the event loop stood still; 3,500,000 empty candles in a frame of 7 MB took 330 MB.
Walking over the field lengths counts them in any order, unknown fields included, and stops at the limit.
Source: Protocol Buffers, "Encoding".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor

from ingest.market.calendar import SEGMENTS_MAX
from ingest.proto import upstox_feed_v3_pb2 as pb

KEYS_MAX = 5_000  # per frame; the vendor's limit for a connection in the smallest mode
OTHERS_MAX = 1_000  # fields of a frame besides its feeds; the vendor sends three
# Fields of a frame on all levels, 100 per key: a full update has 70. Only a large frame can have so many.
FIELDS_MAX = 100 * KEYS_MAX
LARGE_BYTES = 2 * FIELDS_MAX  # a field has at least two bytes

_RESPONSE = pb.FeedResponse.DESCRIPTOR
_FEEDS, _MARKET_INFO = (_RESPONSE.fields_by_name[name].number for name in ("feeds", "marketInfo"))
_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)  # wire types
_VARINT_BYTES_MAX = 10


def excess_of(frame: bytes) -> str | None:
    """Return what a frame has too much of to be read; None: nothing. Whether it is a valid frame is not checked.

    Examples
    --------
    >>> excess_of(bytes([0x12, 0]) * (KEYS_MAX + 1))
    'more than the 5000 keys of a connection'
    """
    counts = Counter[int]()
    for number, begin, end in _fields(frame, 0, len(frame)):
        counts[number if number == _FEEDS else 0] += 1
        if counts[_FEEDS] > KEYS_MAX:
            return f"more than the {KEYS_MAX} keys of a connection"
        if counts[0] > OTHERS_MAX:
            return f"more than {OTHERS_MAX} fields beside its feeds"
        if number == _MARKET_INFO:
            for _ in _fields(frame, begin, end):
                counts[_MARKET_INFO] += 1
                if counts[_MARKET_INFO] > SEGMENTS_MAX:
                    return f"more than {SEGMENTS_MAX} segments"
    if len(frame) > LARGE_BYTES and _has_more_fields(frame, len(frame)):
        return f"more than {FIELDS_MAX} fields"
    return None


def _has_more_fields(data: bytes, end: int) -> bool:
    """Return whether a frame has more than `FIELDS_MAX` fields, including those of its messages."""
    count = 0
    messages: list[tuple[Descriptor, int, int]] = [(_RESPONSE, 0, end)]
    while messages:
        kind, begin, stop = messages.pop()
        for number, inner_begin, inner_end in _fields(data, begin, stop):
            count += 1
            if count > FIELDS_MAX:
                return True
            field = kind.fields_by_number.get(number)
            if field is not None and field.message_type is not None:
                messages.append((field.message_type, inner_begin, inner_end))
    return False


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of each length-delimited field; zeros for any other field.

    Ends at the first invalid bytes: protobuf reads no further either.
    """
    depth = 0  # in groups; nobody sends these, and their content is unknown
    while at < end:
        try:
            tag, at = _varint(data, at)
            number, kind, begin = tag >> 3, tag & 7, 0
            if kind == _VARINT:
                _, at = _varint(data, at)
            elif kind == _LENGTH:
                size, begin = _varint(data, at)
                at = begin + size
            elif kind in {_FIXED64, _FIXED32}:
                at += 8 if kind == _FIXED64 else 4
            elif kind in {_GROUP, _GROUP_END}:
                depth += 1 if kind == _GROUP else -1
            else:
                return
        except (ValueError, IndexError):
            return
        if begin > at or at > end:
            return
        yield (number, begin, at) if kind == _LENGTH and not depth else (0, 0, 0)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read the varint at an offset; return it as a number of 64 bits without sign, and the offset after it.

    Raises
    ------
    ValueError
        If it is longer than a varint may be.
    IndexError
        If the data end before it does.
    """
    value = 0
    for place in range(_VARINT_BYTES_MAX):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value & (2**64 - 1), at + place + 1
    raise ValueError(f"varint of more than {_VARINT_BYTES_MAX} bytes")
