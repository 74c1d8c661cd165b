"""Wire: what is read by column is what protobuf reads, of whole frames, cut ones and altered ones."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError as ProtobufDecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.decode.columns import PAD_BYTES, read_columns
from ingest.decode.frames import decode_all
from ingest.decode.message_plan import MessagePlan
from ingest.decode.varint import varint
from ingest.model.frames import Update
from ingest.proto import upstox_feed_v3_pb2 as pb
from tests.unit.decode.test_frames import NOW_MS, full_feed, message

PLAN = MessagePlan(pb.FeedResponse.FeedsEntry.DESCRIPTOR)
FRAME = message(full_feed())


def read(*messages: bytes) -> tuple[list[dict[str, Any]], list[bool]]:
    """Read messages of one type side by side; return what each says as nested plain values, and who is a stray."""
    ends = np.cumsum([len(one) for one in messages])
    columns, strays = read_columns(
        PLAN, b"".join(messages) + bytes(PAD_BYTES), ends - [len(one) for one in messages], ends
    )
    return [plain(columns, row) for row in range(len(messages))], strays.tolist()


def plain(columns: Any, row: int) -> dict[str, Any]:
    """What one message says; `row` is of the outermost."""
    rows = range(10**6)[columns.rows] if isinstance(columns.rows, slice) else columns.rows.tolist()
    if row not in rows:
        return {}
    place = rows.index(row)
    found: dict[str, Any] = {name: values[place].item() for name, values in columns.numbers.items() if values[place]}
    for name, text in columns.texts.items():
        if letters := text.data[text.begin[place] : text.end[place]].tobytes():
            found[name] = letters.decode()
    found |= {name: said for name, inner in columns.messages.items() if (said := plain(inner, row))}
    for name, several in columns.repeated.items():
        if inside := [said for inner in several if (said := plain(inner, row))]:
            found[name] = inside
    return found


def said(one: Any) -> dict[str, Any]:
    """The same of a protobuf message."""
    found: dict[str, Any] = {}
    for field, value in one.ListFields():
        if field.message_type is None:
            found[field.name] = value
        elif field.is_repeated:
            if parts := [inside for part in value if (inside := said(part))]:
                found[field.name] = parts
        elif inside := said(value):
            found[field.name] = inside
    return found


def entries(frame: bytes) -> list[bytes]:
    """The entries of a frame, each as a message of its own."""
    feeds = pb.FeedResponse.FromString(frame).feeds
    return [pb.FeedResponse.FeedsEntry(key=key, value=feed).SerializeToString() for key, feed in feeds.items()]


number = st.integers(-(2**63), 2**63 - 1)
double = st.floats(allow_nan=False).map(lambda value: value or 0.0)  # a negative zero is on the wire


@st.composite
def feeds(draw: st.DrawFn) -> pb.Feed:
    """Any feed, each of its fields there or not."""
    feed = pb.Feed(requestMode=draw(st.sampled_from([0, 1, 2, 3])))
    fill(feed, draw)
    return feed


def fill(one: Any, draw: st.DrawFn) -> None:
    """Set some of a message's fields, one of each oneof."""
    used: set[str] = set()
    for field in one.DESCRIPTOR.fields:
        oneof = field.containing_oneof.name if field.containing_oneof else ""
        if oneof in used or not draw(st.booleans()):
            continue
        used.update({oneof} - {""})
        if field.is_repeated:
            for _ in range(draw(st.integers(0, 3))):
                fill(getattr(one, field.name).add(), draw)
        elif field.message_type is not None:
            getattr(one, field.name).SetInParent()
            fill(getattr(one, field.name), draw)
        elif field.enum_type is None:
            kinds = {field.TYPE_DOUBLE: double, field.TYPE_INT64: number, field.TYPE_BOOL: st.booleans()}
            setattr(one, field.name, draw(kinds.get(field.type, st.sampled_from(["1d", "I1", "I30"]))))


@given(st.lists(feeds(), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_plan_reads_side_by_side_what_protobuf_reads_one_by_one(several: list[pb.Feed]) -> None:
    messages = [pb.FeedResponse.FeedsEntry(key=f"K|{place}", value=feed) for place, feed in enumerate(several)]
    found, strays = read(*(one.SerializeToString() for one in messages))
    assert strays == [False] * len(several)
    assert found == [said(one) for one in messages]


def test_plan_message_cut_anywhere_is_a_stray_and_its_neighbours_are_read() -> None:
    [whole] = entries(FRAME)
    for length in range(1, len(whole)):
        found, strays = read(whole, whole[:length], whole)
        boundary = 0x12 not in whole[:length]  # a key without a value is a message
        assert strays == [False, not (boundary and length == whole.index(0x12)), False], length
        assert found[0] == found[2] == said(pb.FeedResponse.FeedsEntry.FromString(whole))


def test_plan_fields_in_another_order_twice_or_unknown_make_a_stray() -> None:
    price, volume = pb.LTPC(ltp=1.5).SerializeToString(), pb.LTPC(ltq=7).SerializeToString()
    unknown = b"\x7a\x01x"
    for ltpc, stray in (
        (price + volume, False),
        (volume + price, True),
        (price + price, True),
        (price + unknown, True),
    ):
        feed = b"\x0a" + bytes([len(ltpc)]) + ltpc
        assert read(b"\x12" + bytes([len(feed)]) + feed)[1] == [stray]


@pytest.mark.parametrize(
    "value", [0, 1, 127, 128, 16383, 16384, 2**21, 2**35, 2**49 - 1, 2**56, 2**63 - 1, -1, -(2**63)]
)
def test_varint_of_every_size_reads_alike(value: int) -> None:
    ltpc = pb.LTPC(ltq=value).SerializeToString() or b"\x18\x00"
    assert varint(ltpc, 1) == (value, len(ltpc))
    feed = b"\x0a" + bytes([len(ltpc)]) + ltpc
    found, strays = read(b"\x12" + bytes([len(feed)]) + feed)
    assert strays == [False]
    assert found[0].get("value", {}).get("ltpc", {}).get("ltq", 0) == value


def test_varint_of_eleven_bytes_is_refused() -> None:
    endless = b"\xff" * 10 + b"\x01"
    with pytest.raises(ValueError, match="varint"):
        varint(endless, 0)
    ltpc = b"\x18" + endless
    feed = b"\x0a" + bytes([len(ltpc)]) + ltpc
    assert read(b"\x12" + bytes([len(feed)]) + feed)[1] == [True]


def judged_by_protobuf(payload: bytes) -> list[Update] | None:
    """The updates of a frame that protobuf has written anew, so that it is certainly plain; None: it refuses it."""
    try:
        message = pb.FeedResponse.FromString(payload)
    except ProtobufDecodeError:
        return None
    message.DiscardUnknownFields()
    frames = decode_all([message.SerializeToString()])
    return None if frames.errors else [frames.updates.one(at) for at in range(len(frames.updates))]


@given(
    st.lists(st.tuples(st.integers(0, len(FRAME) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(1, len(FRAME)),
)
@example([(2, 255)], len(FRAME))
@settings(deadline=None, max_examples=400)
def test_decode_altered_and_cut_frame_says_what_protobuf_says(changes: list[tuple[int, int]], length: int) -> None:
    altered = bytearray(FRAME)
    for place, byte in changes:
        altered[place] = byte
    payloads = [FRAME, bytes(altered[:length]), FRAME]
    frames = decode_all(payloads)
    spans = list(pairwise(frames.ends.tolist()))
    whole = judged_by_protobuf(FRAME)
    expected = [whole, judged_by_protobuf(payloads[1]), whole]
    for index, ((start, end), wanted) in enumerate(zip(spans, expected, strict=True)):
        found = [frames.updates.one(at) for at in range(start, end)]
        assert (index in frames.errors) == (wanted is None)
        assert repr(found) == repr(wanted or [])  # NaN is equal to nothing


def test_current_time_of_the_example_is_of_this_market() -> None:
    assert decode_all([FRAME]).current_ms.tolist() == [NOW_MS]
