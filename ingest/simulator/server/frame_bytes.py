"""Encode the simulator's frames. Pure; knows the protobuf schema, not the market.

A FeedResponse is joined from the ready bytes of its map entries: one projection of a feed is serialised
once and shared by all clients that need it, and we control the order of the entries. (A protobuf map
serialises in the order of its hash table, which differs between platforms.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ingest.model.frames import FrameType, Mode
from ingest.proto import upstox_feed_v3_pb2 as pb

# Field numbers of FeedResponse with their wire types (2: length-delimited, 0: varint).
_TYPE_TAG = b"\x08"
_FEEDS_TAG = b"\x12"
_CURRENT_TS_TAG = b"\x18"
_ENTRY_KEY_TAG = b"\x0a"
_ENTRY_VALUE_TAG = b"\x12"


def varint(value: int) -> bytes:
    """Encode a non-negative integer as protobuf does, seven bits at a time, lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def entry(key: str, feed: pb.Feed) -> bytes:
    """Encode one entry of `FeedResponse.feeds` with its tag, ready to be joined."""
    name = key.encode()
    value = feed.SerializeToString()
    body = b"".join((_ENTRY_KEY_TAG, varint(len(name)), name, _ENTRY_VALUE_TAG, varint(len(value)), value))
    return _FEEDS_TAG + varint(len(body)) + body


def feed_response(kind: FrameType, current_ms: int, entries: Iterable[bytes]) -> bytes:
    """Join entries into a whole FeedResponse; `initial_feed` is 0 and is therefore not written."""
    head = _TYPE_TAG + varint(kind) if kind else b""
    return b"".join((head, *entries, _CURRENT_TS_TAG, varint(current_ms)))


def market_info(current_ms: int, status: Mapping[str, int], auctions: Mapping[str, str] | None = None) -> bytes:
    """Encode a `market_info` frame.

    Parameters
    ----------
    current_ms
        Market time, epoch milliseconds.
    status
        `MarketStatus` number of each segment.
    auctions
        Words about the closing auction of segments.
    """
    message = pb.FeedResponse(type=pb.market_info, currentTs=current_ms)
    for segment, value in status.items():
        message.marketInfo.segmentStatus[segment] = pb.MarketStatus.Name(value)  # type: ignore[assignment, arg-type]
    for segment, word in (auctions or {}).items():
        message.marketInfo.casMarketStatus[segment].CopyFrom(pb.StatusInfo(status=word, updatedTime=current_ms))
    return message.SerializeToString(deterministic=True)


def project(feed: pb.Feed, mode: Mode) -> pb.Feed:
    """Reduce a feed to what a mode carries (feed document, sections 2 and 3).

    A feed recorded in a smaller mode than requested is returned unchanged: there is nothing to add.
    """
    kind = feed.WhichOneof("FeedUnion")
    if mode is Mode.LTPC:
        return feed if kind == "ltpc" else pb.Feed(ltpc=_ltpc(feed), requestMode=pb.ltpc)
    if kind != "fullFeed":
        return feed
    if mode is Mode.OPTION_GREEKS:
        first = _first_level(feed.fullFeed)
        return pb.Feed(firstLevelWithGreeks=first, requestMode=pb.option_greeks)
    request_mode = pb.full_d30 if mode is Mode.FULL_D30 else pb.full_d5
    levels_max = 30 if mode is Mode.FULL_D30 else 5
    levels = feed.fullFeed.marketFF.marketLevel.bidAskQuote
    if feed.requestMode == request_mode and len(levels) <= levels_max:
        return feed
    copy = pb.Feed()
    copy.CopyFrom(feed)
    copy.requestMode = request_mode
    if len(levels) > levels_max:
        del copy.fullFeed.marketFF.marketLevel.bidAskQuote[levels_max:]
    return copy


def _ltpc(feed: pb.Feed) -> pb.LTPC:
    if feed.WhichOneof("FeedUnion") == "firstLevelWithGreeks":
        return feed.firstLevelWithGreeks.ltpc
    if feed.fullFeed.WhichOneof("FullFeedUnion") == "indexFF":
        return feed.fullFeed.indexFF.ltpc
    return feed.fullFeed.marketFF.ltpc


def _first_level(full: pb.FullFeed) -> pb.FirstLevelWithGreeks:
    if full.WhichOneof("FullFeedUnion") == "indexFF":
        return pb.FirstLevelWithGreeks(ltpc=full.indexFF.ltpc)
    market = full.marketFF
    first = pb.FirstLevelWithGreeks(ltpc=market.ltpc, vtt=market.vtt, oi=market.oi, iv=market.iv)
    # Sub-messages missing from the frame stay missing.
    if market.marketLevel.bidAskQuote:
        first.firstDepth.CopyFrom(market.marketLevel.bidAskQuote[0])
    if market.HasField("optionGreeks"):
        first.optionGreeks.CopyFrom(market.optionGreeks)
    return first
