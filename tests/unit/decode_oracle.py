"""Oracle of decoding: one message of the feed, update by update. Slow, plain, and what the columns must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError as ProtobufDecodeError

from ingest.errors import DecodeError
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.model.frames import DayCandle, Depth, FrameType, Greeks, Mode, Update
from ingest.proto import upstox_feed_v3_pb2 as pb

_ABSENT = float("nan")
_parse = pb.FeedResponse.FromString


class Frame(NamedTuple):
    """One decoded FeedResponse."""

    type: int
    current_ms: int
    updates: list[Update]
    segment_status: dict[str, int]


def decode(payload: bytes) -> Frame:
    """Decode one message of the feed.

    Parameters
    ----------
    payload
        The whole binary message: one serialised FeedResponse.

    Returns
    -------
    Frame
        Its updates as sent, nothing merged and nothing judged.

    Raises
    ------
    DecodeError
        If the bytes are not a FeedResponse or its time is impossible.
    """
    try:
        message = _parse(payload)
    except ProtobufDecodeError as exc:
        raise DecodeError(f"frame of {len(payload)} bytes is not a FeedResponse: {exc}") from exc
    current_ms = message.currentTs
    if not CURRENT_MS_MIN <= current_ms <= CURRENT_MS_MAX:
        raise DecodeError(f"frame has impossible currentTs {current_ms!r}")
    kind = int(message.type)
    if kind == FrameType.MARKET_INFO:
        return Frame(kind, current_ms, [], dict(message.marketInfo.segmentStatus))
    return Frame(kind, current_ms, [_update(key, feed) for key, feed in message.feeds.items()], {})


def _update(key: str, feed: pb.Feed) -> Update:
    """Read one feed. Nearly all are `fullFeed.marketFF` with a price; an absent sub-message reads as an empty one."""
    market = feed.fullFeed.marketFF
    ltpc = market.ltpc
    ltp = ltpc.ltp
    if not ltp:
        return _other_update(key, feed)
    levels = market.marketLevel.bidAskQuote
    depth: Depth | None = None
    if levels:
        best = levels[0]
        depth = (best.bidP, best.bidQ, best.askP, best.askQ, market.tbq, market.tsq)
    return Update(
        key, feed.requestMode, ltp, ltpc.ltt, ltpc.ltq, ltpc.cp,
        market.vtt, market.oi, market.atp, market.iv,
        depth, _greeks(market.optionGreeks), _day_candle(market.marketOHLC.ohlc),
    )  # fmt: skip


def _other_update(key: str, feed: pb.Feed) -> Update:
    """Read a feed that is an index, of another mode, or says no price."""
    kind = feed.WhichOneof("FeedUnion")
    if kind == "firstLevelWithGreeks":
        first = feed.firstLevelWithGreeks
        depth: Depth | None = None
        if first.HasField("firstDepth"):
            best = first.firstDepth
            # This mode does not have the totals of the book.
            depth = (best.bidP, best.bidQ, best.askP, best.askQ, _ABSENT, _ABSENT)
        ltpc = first.ltpc
        return Update(
            key, Mode.OPTION_GREEKS, ltpc.ltp, ltpc.ltt, ltpc.ltq, ltpc.cp,
            first.vtt, first.oi, 0.0, first.iv, depth, _greeks(first.optionGreeks), None,
        )  # fmt: skip
    if kind != "fullFeed":
        ltpc = feed.ltpc
        return Update(key, Mode.LTPC, ltpc.ltp, ltpc.ltt, ltpc.ltq, ltpc.cp, 0, 0.0, 0.0, 0.0, None, None, None)
    full = feed.fullFeed
    if full.WhichOneof("FullFeedUnion") == "indexFF":
        index = full.indexFF
        ltpc = index.ltpc
        return Update(
            key, feed.requestMode, ltpc.ltp, ltpc.ltt, ltpc.ltq, ltpc.cp,
            0, 0.0, 0.0, 0.0, None, None, _day_candle(index.marketOHLC.ohlc),
        )  # fmt: skip
    market = full.marketFF
    depth = None
    if levels := market.marketLevel.bidAskQuote:
        best = levels[0]
        depth = (best.bidP, best.bidQ, best.askP, best.askQ, market.tbq, market.tsq)
    ltpc = market.ltpc
    return Update(
        key, feed.requestMode, 0.0, ltpc.ltt, ltpc.ltq, ltpc.cp,
        market.vtt, market.oi, market.atp, market.iv,
        depth, _greeks(market.optionGreeks), _day_candle(market.marketOHLC.ohlc),
    )  # fmt: skip


def _greeks(greeks: pb.OptionGreeks) -> Greeks | None:
    """Greeks of an option; None for what has none: there the vendor sends an empty message."""
    vega, delta = greeks.vega, greeks.delta
    if not vega and not delta:
        return None
    return delta, greeks.gamma, greeks.theta, vega, greeks.rho


def _day_candle(candles: Sequence[pb.OHLC]) -> DayCandle | None:
    """The candle "1d", found by its interval: positions are not to be relied on."""
    for candle in candles:
        if candle.interval == "1d":
            return candle.ts, candle.open, candle.high, candle.low
    return None
