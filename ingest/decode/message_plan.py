"""Plan how to read messages of a type by column, from the descriptor that protobuf built of the `.proto`. Pure."""

from __future__ import annotations

from collections.abc import Container
from itertools import groupby
from typing import NamedTuple

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from numpy.typing import NDArray

VARINT, FIXED64, LENGTH = 0, 1, 2  # wire types


class Step(NamedTuple):
    """Fields of a message type that are read together: a run of 64-bit numbers, or a single field."""

    names: tuple[str, ...]
    tags: tuple[int, ...]
    run_tags: NDArray[np.uint8]
    kind: int  # wire type
    is_enum: bool
    inner: MessagePlan | None  # plan of the field's message type
    is_repeated: bool
    oneof: str

    @property
    def name(self) -> str:
        """The name of the field, or of the first field of a run."""
        return self.names[0]


class MessagePlan:
    """Steps for reading messages of a type. Recursive types are not supported: the feed has none.

    Parameters
    ----------
    descriptor
        The message type.
    first_only
        Repeated fields of which only the first message is needed; the others are skipped.
    """

    def __init__(self, descriptor: Descriptor, first_only: Container[str] = ()) -> None:
        self.steps: list[Step] = []
        fields = sorted(descriptor.fields, key=lambda one: one.number)
        runs = groupby(fields, key=lambda one: 0 if one.type == one.TYPE_DOUBLE else one.number)
        for members in (tuple(run) for _, run in runs):
            first = members[0]
            self.steps.append(
                Step(
                    tuple(one.name for one in members),
                    tuple(_tag(one) for one in members),
                    np.array([_tag(one) & 255 for one in members], np.uint8),
                    _wire_type(first),
                    first.enum_type is not None,
                    MessagePlan(first.message_type, first_only) if first.message_type is not None else None,
                    first.is_repeated,
                    first.containing_oneof.name if first.containing_oneof is not None else "",
                )
            )
        self.first_only = {step.name for step in self.steps if step.is_repeated and step.name in first_only}


def _wire_type(one: FieldDescriptor) -> int:
    if one.type == one.TYPE_DOUBLE:
        return FIXED64
    return LENGTH if one.type in {one.TYPE_MESSAGE, one.TYPE_STRING} else VARINT


def _tag(one: FieldDescriptor) -> int:
    """Return a field's tag as the number formed by its bytes, at most two."""
    tag = one.number << 3 | _wire_type(one)
    return tag if tag < 128 else (tag & 127 | 128) | tag >> 7 << 8
