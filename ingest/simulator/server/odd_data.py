"""Odd data that a vendor should not send, but has been seen to or could. Pure.

Invalid keys, instrument rows and `market_info` frames, several kinds of each. A receiver must lose only the odd item.
"""

from __future__ import annotations

import json
import math
import random
from typing import Any

from ingest.model.frames import FrameType
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.server.frame_bytes import entry, feed_response
from ingest.simulator.source import SEGMENTS

# Invalid keys, except the last, which is valid but on no list.
POISONOUS_KEYS = (
    "", " ", "NSE_FO", "NSE_FO|", "|53001", "NSE_FO|53001\0", "\0", "NSE_FO|1\n2", "NSE_FO|" + "9" * 9_000, "x" * 9_000,
    "NSE_FO|\u202e53001", "'; drop table ticks; --", "\ufffd", "NSE_FO|99999999",
)  # fmt: skip
UNKNOWN_KEYS = 6_000  # unknown keys in one frame: more than any connection may have
FIRST_UNKNOWN_TOKEN = 8_000_000  # above any token of the exchange
_LONG = "x" * 9_000


def poisonous_update(number: int) -> bytes:
    """Encode an update with an invalid key, to append to a frame."""
    feed = pb.Feed(requestMode=pb.full_d5)
    feed.fullFeed.marketFF.ltpc.ltp = 100.0
    return entry(POISONOUS_KEYS[number % len(POISONOUS_KEYS)], feed)


def frame_of_unknown_keys(current_ms: int) -> bytes:
    """Encode a live frame of unknown keys."""
    feed = pb.Feed(ltpc=pb.LTPC(ltp=100.0), requestMode=pb.ltpc)
    return feed_response(
        FrameType.LIVE_FEED,
        current_ms,
        [entry(f"NSE_FO|{FIRST_UNKNOWN_TOKEN + one}", feed) for one in range(UNKNOWN_KEYS)],
    )


def odd_status(number: int, current_ms: int) -> bytes:
    """Encode an odd `market_info` frame; the kinds rotate."""
    message = pb.FeedResponse(type=pb.market_info, currentTs=current_ms)
    info = message.marketInfo
    kinds = ("nothing", "closed", "stranger", "number", "long", "words", "past", "future")
    match kinds[number % len(kinds)]:
        case "closed":  # in the middle of a session
            for segment in SEGMENTS:
                info.segmentStatus[segment] = pb.NORMAL_CLOSE
        case "stranger":
            info.segmentStatus["MOON_EQ"] = pb.NORMAL_OPEN
            info.segmentStatus[""] = pb.NORMAL_OPEN
            info.segmentStatus["NSE_EQ\0"] = pb.NORMAL_CLOSE
        case "number":  # a status of a newer schema
            info.segmentStatus["NSE_EQ"] = 99  # type: ignore[assignment]
        case "long":
            info.segmentStatus[_LONG] = pb.NORMAL_OPEN
        case "words":
            for segment, word in (("NSE_EQ", ""), ("NSE", "MAYBE"), ("NSE_FO", _LONG), ("\0", "CAS_STOP")):
                info.casMarketStatus[segment].CopyFrom(pb.StatusInfo(status=word, updatedTime=-1))
                info.preOpenSessionStatus[segment].CopyFrom(pb.StatusInfo(status=word, updatedTime=2**62))
        case "past":
            message.currentTs = -1
        case "future":
            message.currentTs = 2**62
    return message.SerializeToString(deterministic=True)


def odd_rows(number: int, seed: int) -> list[Any]:
    """Return odd rows for an instrument master, each with one fault; the kinds rotate."""
    rng = random.Random(seed)
    kinds: list[Any] = [
        {"expiry": "29 DEC 26"}, {"expiry": 1e30}, {"expiry": -1}, {"lot_size": "nan"}, {"lot_size": math.nan},
        {"lot_size": 10**10}, {"lot_size": -5}, {"tick_size": math.inf}, {"strike_price": "deep"}, {"name": "A\0B"},
        {"name": "\ud800"}, {"name": ["a", "list"]}, {"trading_symbol": 5}, {"instrument_key": None},
        {"instrument_key": 7}, {"instrument_key": _LONG}, {"instrument_key": ""}, {"segment": {}},
        {"tick_size": -1}, {"underlying_key": "NSE_EQ|\0"}, {"instrument_type": 3.5}, {"expiry": True},
        None, 7, [], "row", {},
    ]  # fmt: skip
    rng.shuffle(kinds)
    return [_odd_row(kinds[one % len(kinds)], one) for one in range(number)]


def _odd_row(odd: Any, number: int) -> Any:
    if not isinstance(odd, dict) or not odd:
        return odd
    token = str(9_000_000 + number)
    row = {
        "segment": "NSE_FO", "exchange": "NSE", "instrument_type": "CE", "instrument_key": f"NSE_FO|{token}",
        "name": "ODD", "exchange_token": token, "trading_symbol": f"ODD {number} CE", "strike_price": 100.0,
        "expiry": 1_798_482_599_000, "lot_size": 50, "tick_size": 5.0, "underlying_symbol": "ODD",
    }  # fmt: skip
    return row | odd


def as_json(rows: list[Any]) -> bytes:
    """Return rows as JSON, with NaN and Infinity, which JSON lacks but many programs write."""
    return json.dumps(rows).encode()
