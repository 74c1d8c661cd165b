"""The two decoders read the same, and accept what protobuf accepts: real, random, cut and altered frames."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError as ProtobufDecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode import plain
from ingest.decode.columns import Columns
from ingest.decode.frame_limits import excess_of
from ingest.decode.frames import DECODER, decode_all
from ingest.journal.recording import read_recording
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.model.frames import Frames
from ingest.proto import upstox_feed_v3_pb2 as pb
from tests.data import data_file
from tests.unit.decode.test_frames import NOW_MS, full_feed, message

pytestmark = pytest.mark.skipif(DECODER != "compiled", reason="the compiled decoder is not installed")

FRAME = message(full_feed())
LEVELS = 3  # fewer than are sent, or more
SESSION = "session-20251215-open.frames.gz"


def compiled_read(payloads: Sequence[bytes], levels: int = 0) -> Columns:
    from ingest.decode import compiled

    return compiled.read(payloads, levels)


def rows(frames: Frames) -> list[list[str]]:
    """The updates of each frame as texts (NaN equals nothing else), each with its candle, in the order of the keys."""
    candles = np.transpose(frames.candles)
    updates = frames.updates
    texts = [repr((updates.one(at), candles[at].tolist(), updates.book[at].tolist())) for at in range(len(updates))]
    return [sorted(texts[start:end]) for start, end in pairwise(frames.ends.tolist())]


def check_agreement(payloads: list[bytes]) -> list[int]:
    """Compare the two decoders, and their decisions with protobuf's; return the indices of the frames refused."""
    by_compiled, by_plain = (decode_all(payloads, read, levels=LEVELS) for read in (compiled_read, plain.read))
    assert_same_without_book(decode_all(payloads, compiled_read), by_compiled)
    assert by_compiled.type.tolist() == by_plain.type.tolist()
    assert by_compiled.current_ms.tolist() == by_plain.current_ms.tolist()
    assert repr(by_compiled.errors) == repr(by_plain.errors)
    assert by_compiled.segment_status == by_plain.segment_status
    assert rows(by_compiled) == rows(by_plain)
    refused = [index for index, payload in enumerate(payloads) if not protobuf_takes(payload)]
    assert sorted(by_compiled.errors) == refused
    return refused


def assert_same_without_book(without: Frames, with_book: Frames) -> None:
    assert without.updates.book.shape == (len(without.updates), 0)
    assert with_book.updates.book.shape == (len(without.updates), 4 * LEVELS)
    assert without.ends.tolist() == with_book.ends.tolist() and repr(without.errors) == repr(with_book.errors)
    assert without.updates.carried.tobytes() == with_book.updates.carried.tobytes()


def protobuf_takes(payload: bytes) -> bool:
    try:
        return CURRENT_MS_MIN <= pb.FeedResponse.FromString(payload).currentTs <= CURRENT_MS_MAX
    except ProtobufDecodeError:
        return False


def recorded(count: int | None = None) -> list[bytes]:
    return [frame.payload for frame in islice(read_recording(data_file(SESSION)), count)]


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.soak)])
def test_recording_is_read_alike_and_nothing_is_left_to_protobuf(every: int) -> None:
    payloads = recorded()
    compared = payloads[::every]
    refused = [check_agreement(compared[start : start + 3_000]) for start in range(0, len(compared), 3_000)]
    assert not any(refused)
    unsure = [payloads[index] for index in compiled_read(payloads).unsure]
    assert all(pb.FeedResponse.FromString(payload).type == pb.market_info for payload in unsure)


double = st.floats(allow_nan=True)
integer = st.integers(-(2**63), 2**63 - 1)


@st.composite
def feeds(draw: st.DrawFn) -> pb.Feed:
    """Any feed, each of its fields there or not."""
    feed = pb.Feed(requestMode=draw(st.integers(-1, 5)))
    fill(feed, draw)
    return feed


def fill(one: Any, draw: st.DrawFn) -> None:
    """Set some of a message's fields, at most one of each oneof."""
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
            kinds = {field.TYPE_DOUBLE: double, field.TYPE_INT64: integer, field.TYPE_BOOL: st.booleans()}
            setattr(one, field.name, draw(kinds.get(field.type, st.sampled_from(["1d", "I1", "I30", "é"]))))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame in parts that are in any order: feeds, feeds of the same key again, unknown fields, a `marketInfo`."""
    response = pb.FeedResponse(type=draw(st.sampled_from([0, 1, 1, 2])))
    response.currentTs = draw(st.sampled_from([NOW_MS, NOW_MS, NOW_MS, 5]))
    if draw(st.integers(0, 9)) == 0:
        response.marketInfo.segmentStatus["NSE_EQ"] = 2
    parts = [response.SerializeToString()]
    for key in draw(st.lists(st.sampled_from(["NSE_EQ|A", "NSE_FO|1", "NSE_FO|2", "", "é"]), max_size=4)):
        entry = pb.FeedResponse()
        for feed in draw(st.lists(feeds(), min_size=1, max_size=2)):
            entry.feeds[key].MergeFrom(feed)
        parts.append(entry.SerializeToString())
    if draw(st.booleans()):
        parts.append(draw(st.sampled_from([b"\x7a\x01x", b"\xf8\x01\x05", b"\x2d1234", b"\x2912345678", b"\x2b\x2c"])))
    return b"".join(draw(st.permutations(parts)))


@given(st.lists(frames(), max_size=4))
@settings(deadline=None, max_examples=150)
def test_random_feeds_are_read_alike(payloads: list[bytes]) -> None:
    check_agreement(payloads)


def test_frame_cut_at_every_byte_is_read_alike() -> None:
    refused = check_agreement([FRAME, *(FRAME[:length] for length in range(len(FRAME))), FRAME])
    assert len(refused) > len(FRAME) * 9 // 10
    assert 0 not in refused


def varints() -> Iterator[bytes]:
    """Fields of LTPC whose varints are at their limits, or overlong, or cut."""
    for value in (0, 1, 127, 128, 2**14 - 1, 2**21, 2**35, 2**49 - 1, 2**56, 2**63 - 1, -1, -(2**63)):
        yield pb.LTPC(ltq=value).SerializeToString() or b"\x18\x00"
    for size in range(1, 13):
        yield b"\x18" + b"\x80" * (size - 1) + b"\x01"
        yield b"\x18" + b"\xff" * (size - 1) + b"\x7f"
        yield b"\x18" + b"\x80" * (size - 1) + b"\x00"
        yield b"\x98" + b"\x80" * (size - 1) + b"\x00\x05"  # the tag itself
        yield b"\xaa" + b"\x80" * (size - 1) + b"\x00\x00"
        yield b"\x2a" + b"\x80" * (size - 1) + b"\x00"  # the length of a message
    yield from (b"\x18", b"\x18\x80", b"\x09\x00", b"\x00\x00", b"\x07", b"\x1e\x00", b"\xfa\xff\xff\xff\x0f\x00")


def test_numbers_tags_and_lengths_of_every_size_are_read_alike() -> None:
    time = pb.FeedResponse(currentTs=NOW_MS).SerializeToString()
    payloads = [time + entry(ltpc) for ltpc in varints()]
    refused = check_agreement(payloads)
    assert 0 < len(refused) < len(payloads)


def entry(ltpc: bytes) -> bytes:
    """A field `feeds` of one key with an LTPC of these bytes."""

    def field(number: int, inner: bytes) -> bytes:
        assert len(inner) < 128
        return bytes([number << 3 | 2, len(inner)]) + inner

    return field(2, field(1, b"NSE_EQ|A") + field(2, field(1, ltpc)))


def damaged(payload: bytes, rng: random.Random) -> bytes:
    """Alter a frame in one to four places."""
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[place] = rng.randrange(256)
            case 1:
                data[place] ^= 1 << rng.randrange(8)
            case 2:
                data[place:place] = data[: rng.randrange(1, 40)]
            case _:
                del data[place : place + rng.randrange(1, 9)]
    return bytes(data) if rng.random() < 0.9 else bytes(data + payload)


def check_altered(count: int, seed: int) -> None:
    rng, real = random.Random(seed), recorded(500)
    refused = 0
    for start in range(0, count, 500):
        payloads = [damaged(rng.choice(real), rng) for _ in range(min(500, count - start))]
        assert not any(map(excess_of, payloads))
        refused += len(check_agreement(payloads))
    assert count // 10 < refused < count


def test_altered_real_frames_are_read_alike() -> None:
    check_altered(3_000, seed=5)


@pytest.mark.soak
def test_million_altered_real_frames_are_read_alike() -> None:
    check_altered(1_000_000, seed=6)
