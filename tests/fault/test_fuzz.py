"""Mutated real frames through decode, normalise and write: no crash, no wrong row, each of them accounted for."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf.message import DecodeError, Message

from ingest.database.connections import Database
from ingest.journal.recording import read_recording, write_recording
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.pipeline.stray_frames import DEPARTS_MS
from ingest.proto import upstox_feed_v3_pb2 as pb
from tests.engines import on_one_engine
from tests.fault.harness import Command, RecordProperty, rows

SEED = 20251215
ORIGINALS = 2_000
RECEIVED_MS = 1_765_771_374_837
STEP_MS = 5  # between frames: a million last 83 minutes
OFFSET_MS = 4_800  # of our clock, as in the recording
INTEGERS = (0, 1, -1, 2**31, -(2**31), 2**53, 2**53 + 1, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, -1.0, 1e-300, 1e300, 1e9, 2.0**53, 2.0**63, float("nan"), float("inf"), float("-inf"))
PRICES = ("ltp", "bid", "ask", "atp", "day_open", "day_high", "day_low")
QUANTITIES = ("ltq", "vtt", "volume", "oi", "bid_qty", "ask_qty", "tbq", "tsq")
# Columns that are a price, a quantity or a time, each with what it may be.
SANE = " and ".join(
    [
        *(f"({name} is null or {name} > 0 and {name} < 1e9)" for name in PRICES),
        *(f"coalesce({name}, 0) between 0 and 9007199254740992" for name in QUANTITIES),
        "coalesce(ltt, ts) between timestamptz '1970-01-01' and ts + interval '1 minute 1 second'",
        "ts between received_at - interval '1 day' and received_at + interval '4 minutes'",
        "(traded or ts > received_at - interval '4 minutes')",
        "(not traded or volume is null or volume > 0)",
    ]
)
Values = tuple[float, int, int, float]  # ltp, ltt, vtt, oi as sent
KEPT: Values = (0.0, 0, 0, 0.0)  # of a frame whose values are not compared
FRAMES = [pytest.param(5_000, id="short"), pytest.param(1_000_000, id="soak", marks=pytest.mark.soak)]


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def drop(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 16)) :]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 2, 16))) + data[at:]


def repeat(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data + data[at : at + rng.randrange(1, 64)]


def extreme(data: bytes, rng: random.Random) -> bytes:
    """Set one number of the frame to a value at the edge of its type."""
    message = pb.FeedResponse.FromString(data)
    places: list[tuple[Message, str, bool]] = []
    for feed in message.feeds.values():
        market = feed.fullFeed.marketFF
        holders: list[Message] = [market, market.ltpc, market.optionGreeks]
        holders += [*market.marketLevel.bidAskQuote[:1], *market.marketOHLC.ohlc]
        for holder in holders:
            for descriptor in holder.DESCRIPTOR.fields:
                if descriptor.cpp_type == descriptor.CPPTYPE_DOUBLE:
                    places.append((holder, descriptor.name, True))
                elif descriptor.cpp_type == descriptor.CPPTYPE_INT64:
                    places.append((holder, descriptor.name, False))
    holder, name, is_float = rng.choice(places)
    setattr(holder, name, rng.choice(FLOATS) if is_float else rng.choice(INTEGERS))
    return message.SerializeToString(deterministic=True)


UNLIMITED = str(10**12)  # each frame that is refused must be found, not only counted
MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, drop, insert, repeat, extreme)


class Said(NamedTuple):
    """What a frame says, by protobuf alone."""

    altered_ms: int  # its time is so far from the true one
    updates: dict[str, Values]


def read(payload: bytes, true_ms: int) -> Said | None:
    """Read a frame; None: it does not parse, or its time is none of this market."""
    try:
        message = pb.FeedResponse.FromString(payload)
    except DecodeError:
        return None
    if not CURRENT_MS_MIN <= message.currentTs <= CURRENT_MS_MAX:
        return None
    feeds = {} if message.type == pb.market_info else message.feeds
    return Said(abs(message.currentTs - true_ms), {key: values(feed) for key, feed in feeds.items()})


def values(feed: Any) -> Values:
    kind = feed.WhichOneof("FeedUnion")
    if kind == "fullFeed":
        full = feed.fullFeed
        inner = full.indexFF if full.WhichOneof("FullFeedUnion") == "indexFF" else full.marketFF
        return inner.ltpc.ltp, inner.ltpc.ltt, getattr(inner, "vtt", 0), getattr(inner, "oi", 0.0)
    if kind == "firstLevelWithGreeks":
        first = feed.firstLevelWithGreeks
        return first.ltpc.ltp, first.ltpc.ltt, first.vtt, first.oi
    return feed.ltpc.ltp, feed.ltpc.ltt, 0, 0.0


def at(payload: bytes, current_ms: int) -> bytes:
    """A frame at another time, its last trades moved with it."""
    message = pb.FeedResponse.FromString(payload)
    moved = current_ms - message.currentTs
    message.currentTs = current_ms
    for feed in message.feeds.values():
        feed.fullFeed.marketFF.ltpc.ltt += moved
    return message.SerializeToString(deterministic=True)


@on_one_engine
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("frames", FRAMES)
def test_mutated_frames_make_no_wrong_row_and_are_all_accounted_for(
    database: Database, home: Path, session: Path, frames: int, record_property: RecordProperty
) -> None:
    """What was altered is refused, or a value within the bounds of judgement; nothing can tell that from a true one.

    So a frame whose time was altered by more than two tolerances is in quarantine, and none whose time is
    true; a row says what its frame says, and is sane.
    """
    rng = random.Random(SEED)
    originals = [frame.payload for frame in islice(read_recording(session), ORIGINALS)]
    path = home / "mutated.frames.gz"
    said: dict[int, Said | None] = {}

    def mutated() -> Iterator[tuple[int, bytes]]:
        for seq in range(1, frames + 1):
            true_ms = RECEIVED_MS + seq * STEP_MS
            payload = rng.choice(MUTATIONS)(at(rng.choice(originals), true_ms), rng)
            found = read(payload, true_ms)
            keeps = found is None or seq % (frames // 5_000) == 0
            said[seq] = found if keeps or not found else found._replace(updates=dict.fromkeys(found.updates, KEPT))
            yield true_ms + OFFSET_MS, payload

    write_recording(path, mutated())
    limits = dict.fromkeys(("TICKLINE_QUARANTINE_BYTES_PER_DAY_MAX", "TICKLINE_REJECTED_ROWS_PER_DAY_MAX"), UNLIMITED)
    with Command(home, "replay", str(path), TICKLINE_DATABASE_URL=database.url, **limits) as command:
        assert command.process.wait(timeout=3600 if frames > 5_000 else 240) == 0
    assert rows(database, "select sum(frames) from tickline.ledger") == [(frames,)]
    bad = {seq for (seq,) in rows(database, "select seq from tickline.quarantined_frames")}
    assert bad >= {seq for seq, found in said.items() if found is None}
    assert bad >= {seq for seq, found in said.items() if found and found.altered_ms > 2 * DEPARTS_MS}
    assert bad <= {seq for seq, found in said.items() if found is None or found.altered_ms}
    written = rows(
        database,
        "select seq, instrument_key, ltp, (extract(epoch from ltt) * 1000)::int8, vtt, oi"
        " from ticks join instruments using (instrument_id)",
    )
    rejected = rows(database, "select seq, sum(updates) from tickline.rejected_ticks group by seq")
    check_rows(written, said, bad)
    empty = re.search(r"([\d,]+) empty", command.text())
    said_empty = int(empty[1].replace(",", "")) if empty else 0
    counted = Counter(seq for seq, *_ in written) + Counter(dict(rejected))
    assert all(counted[seq] <= len(found.updates) for seq, found in said.items() if found)
    believed = [found for seq, found in said.items() if found and seq not in bad]
    assert counted.total() + said_empty == sum(len(found.updates) for found in believed)
    assert rows(database, f"select * from ticks where not ({SANE}) limit 5") == []
    strays = sum(1 for seq in bad if said[seq])
    figures = {"frames": frames, "quarantined": len(bad), "strays": strays, "rejected": sum(dict(rejected).values())}
    for name, figure in figures.items():
        record_property(name, figure)


def check_rows(written: list[tuple[Any, ...]], said: dict[int, Said | None], bad: set[int]) -> None:
    """Each row says what its frame says, where that says something."""
    for seq, key, *row in written:
        found = said[seq]
        assert found and seq not in bad
        ltp, ltt, vtt, oi = found.updates[key]
        # A count without the time of its last trade may be of any day and is not taken: the last one stands.
        for sent, value in zip((ltp, ltt, vtt if ltt else 0, oi), row):
            # NULL is never wrong: the count of a day on which the last trade is not is left out, for one.
            assert not sent or value is None or value == type(value)(sent), (seq, key, found.updates[key], row)
