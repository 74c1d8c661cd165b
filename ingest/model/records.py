"""Data types of the journal: its records and positions. Pure data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

SEGMENT_NAME = re.compile(r"\d{8}-(?P<first_seq>\d{15})")
SOCKETS = 2  # connections of a stream at most: one and its standby


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a stream: everything before it has been processed."""

    segment: str  # file name without suffix
    offset: int  # bytes, uncompressed

    def __lt__(self, other: Position) -> bool:
        """Return whether this position comes before another one of the same stream."""
        return (order_of(self.segment), self.offset) < (order_of(other.segment), other.offset)


def order_of(name: str) -> tuple[int, str]:
    """Return the sort key of a segment within its stream: its first record, not the day in its name.

    A clock may be set back, but record numbers only grow. Names that are not ours, as of recordings, sort first.

    Examples
    --------
    >>> sorted(["20261130-000000000000001", "20261129-000000000000500"], key=order_of)
    ['20261130-000000000000001', '20261129-000000000000500']
    """
    found = SEGMENT_NAME.match(name)
    return (int(found["first_seq"]) if found else 0), name


class RecordKind(IntEnum):
    """Content of a journal record."""

    FRAME = 1  # payload: the bytes of one websocket message
    CONNECTED = 2  # payload: JSON, facts about the connection
    SUBSCRIBED = 3  # payload: JSON, mode and keys
    UNSUBSCRIBED = 4  # payload: JSON, keys
    DISCONNECTED = 5  # payload: JSON, code and reason


class Record(NamedTuple):
    """One record of a journal segment or recording."""

    kind: int
    seq: int  # number of the record in its collector's journal, from 1, never reused
    received_us: int  # our clock, epoch microseconds
    payload: bytes
    end_offset: int  # bytes of the segment up to and including this record
    socket: int = 0  # connection of the stream that received it; 1: the standby
