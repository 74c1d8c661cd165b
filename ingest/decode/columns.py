"""Read protobuf messages of one type, many at a time, into columns. Pure; knows the encoding, not the field meanings.

A serialiser writes fields in the order of their numbers. `Walk` follows that order and reads one field
from all messages at once, with a position per message: a few numpy calls per field, however many
messages there are. A message written otherwise (fields out of order, repeated, or unknown to us; no
vendor sends these) ends the walk before its own end. It is then a stray: protobuf must read it and
decide whether it is a message at all.

`message_plan` defines which fields exist. Source: Protocol Buffers, "Encoding".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.decode.message_plan import FIXED64, VARINT, MessagePlan, Step
from ingest.decode.varint import VARINT_BYTES_MAX, varint
from ingest.model.ticks import Integers, Mask

REPEATED_MAX = 64  # messages read of one repeated field; the deepest book has 30 levels
PAD_BYTES = 64  # after the last message, so that reading past its end stays inside the buffer

Rows = NDArray[np.int64] | slice
ALL = slice(None)

_HIGH = np.uint64(0x8080808080808080)  # the bit that is clear in the last byte of a varint
_ONE = np.uint64(1)
# The seven-bit groups of a varint are joined in three steps: pairs, fours, all eight.
_STEPS = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(shift))
    for low, high, shift in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)


class Text(NamedTuple):
    """A string field of many messages. Its bytes are not checked to be valid text."""

    data: NDArray[np.uint8]
    begin: Integers
    end: Integers

    def equals(self, wanted: bytes) -> Mask:
        """Return a mask of the messages in which the string equals `wanted`."""
        found: Mask = self.end - self.begin == len(wanted)
        for place, letter in enumerate(wanted):
            found &= self.data[self.begin + place] == letter
        return found


@dataclass(slots=True)
class Columns:
    """Messages of one type as columns; a field that no message has is missing.

    Attributes
    ----------
    rows
        Owner of each message, as an index of the outermost messages; `ALL`: one each.
    numbers
        Scalar field -> its values; zero where a message lacks it, as in protobuf.
    texts
        String field -> its values.
    messages
        Message field -> the messages present. For repeated fields see `repeated`.
    repeated
        Repeated message field -> the first message of each owner, the second of each, and so on.
    """

    rows: Rows
    numbers: dict[str, NDArray[Any]] = field(default_factory=dict)
    texts: dict[str, Text] = field(default_factory=dict)
    messages: dict[str, Columns] = field(default_factory=dict)
    repeated: dict[str, list[Columns]] = field(default_factory=dict)

    def number(self, name: str) -> Any:
        """Return the values of a scalar field; plain 0 if no message has it."""
        return self.numbers.get(name, 0)


class Buffer:
    """Bytes that can be read as eight-byte words at any offset."""

    def __init__(self, data: bytes) -> None:
        self.bytes = np.frombuffer(data, np.uint8)
        self._data = data

    @cached_property
    def words(self) -> NDArray[np.uint64]:
        return np.ndarray(len(self._data) - 7, "<u8", self._data, strides=(1,))

    @cached_property
    def doubles(self) -> NDArray[np.float64]:
        return np.ndarray(len(self._data) - 7, "<f8", self._data, strides=(1,))

    def run(self, at: Integers, count: int) -> NDArray[Any]:
        """Read `count` doubles, each preceded by a tag of one byte."""
        kind = np.dtype([("tag", "u1"), ("value", "<f8")])
        window = np.ndarray(len(self._data) - 9 * count + 1, f"V{9 * count}", self._data, strides=(1,))
        return window[at].view(kind).reshape(len(at), count)


@dataclass(slots=True)
class Walk:
    """Current positions in many messages of one type, moving from begin to end."""

    buffer: Buffer
    at: Integers
    end: Integers
    rows: Rows
    strays: Mask  # indexed by outermost message
    wanted: bool  # False: fields are skipped, their values are not needed

    def read(self, plan: MessagePlan) -> Columns:
        """Read the fields in order; a message whose walk does not stop exactly at its end is a stray."""
        columns = Columns(self.rows)
        oneofs: dict[str, Mask] = {}
        for step in plan.steps:
            left = self.at < self.end
            if not _any(left):
                break
            if step.kind == FIXED64:
                self._doubles(step, left, columns)
            elif step.kind == VARINT:
                self._varint(step, left, columns)
            elif step.inner is None:
                self._text(step, left, columns)
            elif step.is_repeated:
                columns.repeated[step.name] = self._messages(step, left, first_only=step.name in plan.first_only)
            elif (inner := self._message(step, left, wanted=self.wanted)) is not None:
                which, columns.messages[step.name] = inner
                if step.oneof:
                    taken = oneofs.setdefault(step.oneof, np.zeros(len(self.at), np.bool_))
                    self._stray(which, taken[which])
                    taken[which] = True
        self._stray(ALL, self.at != self.end)
        return columns

    def _stray(self, which: Rows, wrong: Mask) -> None:
        if _any(wrong):
            self.strays[within(self.rows, within(which, np.flatnonzero(wrong)))] = True

    def _go(self, which: Rows, at: Integers) -> None:
        """Move some messages to new positions; position arrays are shared, so they are never changed in place."""
        if not isinstance(which, slice):
            moved = self.at.copy()
            moved[which] = at
            at = moved
        self.at = at

    def _tagged(self, tag: int, left: Mask) -> Rows | None:
        """Return the messages whose next field has this tag; None if there are none."""
        here: Mask = left & (self.buffer.bytes[self.at] == tag & 255)
        if tag > 255:
            here &= self.buffer.bytes[self.at + 1] == tag >> 8
        found = np.count_nonzero(here)
        if found == len(here):
            return ALL
        return np.flatnonzero(here) if found else None

    def _doubles(self, step: Step, left: Mask, columns: Columns) -> None:
        done = self._run_of_doubles(step, columns) if _all(left) else 0
        for name, tag in zip(step.names[done:], step.tags[done:], strict=True):
            left = self.at < self.end
            if not _any(left):
                break
            which = self._tagged(tag, left)
            if which is not None:
                at = self.at[which]
                if self.wanted:
                    columns.numbers[name] = _spread(self.buffer.doubles[at + 1], which, len(self.at))
                self._go(which, at + 9)

    def _run_of_doubles(self, step: Step, columns: Columns) -> int:
        """Read as many of the fields as every message has room for, if all have them; return the number read."""
        count = min(len(step.tags), int((self.end - self.at).min()) // 9)
        if count < 2:
            return 0
        run = self.buffer.run(self.at, count)
        if not _all(run["tag"] == step.run_tags[:count]):
            return 0
        columns.numbers.update(zip(step.names[:count], run["value"].T, strict=True))
        self.at = self.at + 9 * count
        return count

    def _varint(self, step: Step, left: Mask, columns: Columns) -> None:
        which = self._tagged(step.tags[0], left)
        if which is None:
            return
        behind = 2 if step.tags[0] > 255 else 1
        if not self.wanted:
            self._go_over_number(which, behind)
            return
        values = self._number(which, behind)
        if step.is_enum:
            values = values.astype(np.int32).astype(np.int64)  # truncated as protobuf does
        columns.numbers[step.name] = _spread(values, which, len(self.at))

    def _go_over_number(self, which: Rows, behind: int) -> None:
        """Skip a varint byte by byte; move past the end if it is not valid."""
        at = self.at[which] + behind
        more = self.buffer.bytes[at] > 127
        for _ in range(VARINT_BYTES_MAX - 1):
            if not _any(more):
                break
            at += more
            more &= self.buffer.bytes[at] > 127
        self._go(which, np.where(more, self.end[which] + 1, at + 1) if _any(more) else at + 1)

    def _number(self, which: Rows, behind: int) -> Integers:
        """Read the varint after the tag of some messages and move past it; past the end if it is not valid."""
        at = self.at[which] + behind
        first = self.buffer.bytes[at]
        longer = first > 127
        if not _any(longer):
            self._go(which, at + 1)
            return first.astype(np.int64)
        second = self.buffer.bytes[at + 1]
        if not _any(longer & (second > 127)):
            self._go(which, at + 1 + longer)
            return (first & 127) + second * (longer * np.int64(128))
        word = self.buffer.words[at]
        ends = ~word & _HIGH
        below = (ends & (~ends + _ONE)) - _ONE  # all bits below the lowest of these
        size = np.bitwise_count(below).astype(np.int64)
        size >>= 3
        word &= below
        for low, high, shift in _STEPS:
            word = (word & low) | ((word & high) >> shift)
        value = word.view(np.int64)
        if not _all(ends):
            for place in np.flatnonzero(ends == 0).tolist():
                value[place], size[place] = self._long_number(int(at[place]), int(self.end[which][place]))
        size += at
        size += 1
        self._go(which, size)
        return value

    def _long_number(self, at: int, end: int) -> tuple[int, int]:
        """Read a varint of nine or ten bytes; return its value and its size minus one. A longer one is invalid."""
        try:
            value, behind = varint(self.buffer.bytes[at : at + VARINT_BYTES_MAX].tobytes(), 0)
        except ValueError:
            return -1, max(end - at, 0)
        return value, behind - 1

    def _span(self, step: Step, left: Mask) -> tuple[Rows, Integers, Integers] | None:
        """Skip a length-delimited field; return its owners and where it begins and ends."""
        which = self._tagged(step.tags[0], left)
        if which is None:
            return None
        size = self._number(which, 2 if step.tags[0] > 255 else 1)
        begin, end = self.at[which], self.end[which]
        stop = begin + size
        wrong = (size < 0) | (stop > end)
        if _any(wrong):
            self._go(which, np.where(wrong, end + 1, stop))
            return which, begin, np.where(wrong, end, stop)
        self._go(which, stop)
        return which, begin, stop

    def _text(self, step: Step, left: Mask, columns: Columns) -> None:
        if (span := self._span(step, left)) is not None:
            which, begin, end = span
            begin, end = (_spread(places, which, len(self.at)) for places in (begin, end))
            columns.texts[step.name] = Text(self.buffer.bytes, begin, end)

    def _message(self, step: Step, left: Mask, *, wanted: bool) -> tuple[Rows, Columns] | None:
        assert step.inner is not None
        if (span := self._span(step, left)) is None:
            return None
        which, begin, end = span
        inner = Walk(self.buffer, begin, end, within(self.rows, which), self.strays, wanted)
        return which, inner.read(step.inner)

    def _messages(self, step: Step, left: Mask, *, first_only: bool) -> list[Columns]:
        found: list[Columns] = []
        while len(found) < REPEATED_MAX:
            inner = self._message(step, left, wanted=self.wanted and not (found and first_only))
            if inner is None:
                break
            found.append(inner[1])
            left = self.at < self.end
        return found[:1] if first_only else found


def _any(mask: NDArray[Any]) -> bool:
    return bool(np.count_nonzero(mask))  # faster than `any` on short arrays


def _all(mask: NDArray[Any]) -> bool:
    return int(np.count_nonzero(mask)) == mask.size


def within(rows: Rows, which: Rows) -> Rows:
    """Return the rows of some messages, given the rows of all."""
    if isinstance(rows, slice):
        return which
    return rows if isinstance(which, slice) else rows[which]


def _spread(values: NDArray[Any], which: Rows, count: int) -> NDArray[Any]:
    """Expand values to all messages, with zero for those not in `which`."""
    if isinstance(which, slice):
        return values
    spread = np.zeros(count, values.dtype)
    spread[which] = values
    return spread


def read_columns(plan: MessagePlan, data: bytes, at: Integers, end: Integers) -> tuple[Columns, Mask]:
    """Read messages that begin and end at the given offsets of a buffer; `PAD_BYTES` more must follow the last one.

    Returns
    -------
    tuple
        The messages as columns, and a mask of the strays, whose values are meaningless.
    """
    walk = Walk(Buffer(data), at, end, ALL, np.zeros(len(at), np.bool_), wanted=True)
    return walk.read(plan), walk.strays
