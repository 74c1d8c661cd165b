"""Mutated real frames through decode, normalise and write: no crash, no wrong row, each of them accounted for."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError, Message

from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.recording import read_recording, write_recording
from sql.database import Database
from tests.fault.harness import Command, rows

SEED = 20251215
ORIGINALS = 2_000
RECEIVED_MS = 1_765_771_374_837
DAY_MS = 86_400_000  # a frame whose own time is further from ours is not believed
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
        "ts between received_at - interval '2 days' and received_at + interval '1 day 1 minute'",
        "(not traded or volume is null or volume > 0)",
    ]
)
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
    return message.SerializeToString()


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, drop, insert, repeat, extreme)


def updates_in(payload: bytes, received_ms: int) -> int | None:
    """How many updates a frame has; None when it is to be quarantined. By protobuf alone."""
    try:
        message = pb.FeedResponse.FromString(payload)
    except DecodeError:
        return None
    if abs(message.currentTs - received_ms) > DAY_MS:
        return None
    return 0 if message.type == pb.market_info else len(message.feeds)


@pytest.mark.xfail(strict=True, reason="a wrong currentTs that is a time is believed")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("frames", FRAMES)
def test_mutated_frames_make_no_wrong_row_and_are_all_accounted_for(
    database: Database, home: Path, session: Path, frames: int
) -> None:
    rng = random.Random(SEED)
    originals = [frame.payload for frame in islice(read_recording(session), ORIGINALS)]
    path = home / "mutated.frames.gz"
    expected: dict[int, int | None] = {}

    def mutated() -> Iterator[tuple[int, bytes]]:
        for seq in range(1, frames + 1):
            payload = rng.choice(MUTATIONS)(rng.choice(originals), rng)
            expected[seq] = updates_in(payload, RECEIVED_MS + seq)
            yield RECEIVED_MS + seq, payload

    write_recording(path, mutated())
    with Command(home, "replay", str(path), TICKLINE_DATABASE_URL=database.url) as command:
        assert command.process.wait(timeout=1800 if frames > 5_000 else 20) == 0
    assert rows(database, "select sum(frames) from tickline.ledger") == [(frames,)]
    bad = {seq for (seq,) in rows(database, "select seq from tickline.quarantined_frames")}
    assert bad == {seq for seq, updates in expected.items() if updates is None}
    made = rows(
        database,
        "select seq, sum(ticks)::int8, sum(rejected)::int8 from ("
        " select seq, 1 as ticks, 0 as rejected from ticks"
        " union all select seq, 0, 1 from tickline.rejected_ticks) as updates group by seq",
    )
    assert all(ticks + rejected <= (expected[seq] or 0) for seq, ticks, rejected in made)
    empty = re.search(r"empty[= ]+([\d,]+)|([\d,]+) empty", command.text())
    said_empty = int((empty[1] or empty[2]).replace(",", "")) if empty else 0
    counted = sum(ticks + rejected for _, ticks, rejected in made)
    assert counted + said_empty == sum(updates or 0 for updates in expected.values())
    wrong = rows(database, f"select * from ticks where not ({SANE}) limit 5")
    assert wrong == []
    print(f"fuzz: frames={frames} quarantined={len(bad)} counted={counted} empty={said_empty}")
