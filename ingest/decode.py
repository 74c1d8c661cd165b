"""Decode: bytes of one websocket message to a `Frame`. Pure; knows the wire, not the market.

A real frame, shortened (one instrument of a `live_feed` of 15 Dec 2025, 09:32:54 IST)::

    type: live_feed                     0 is initial_feed and is then not on the wire
    currentTs: 1765771374837            server time, epoch ms
    feeds["NSE_FO|60166"]:
      requestMode: full_d5              what `full` comes back as
      fullFeed.marketFF:
        ltpc: ltp 269.2  ltt 1765771373617  ltq 35  cp 339.3
        marketLevel.bidAskQuote[0]: bidQ 70  bidP 268.2  askQ 315  askP 268.45
        optionGreeks: delta 0.328  theta -15.022  gamma 0.0003  vega 43.8769  rho 8.0303
        marketOHLC.ohlc: "1d" (ts = midnight IST) and "I1" (the last completed minute)
        atp 286.89  vtt 510160  oi 1565935  iv 0.10440826  tbq 56105  tsq 127330

proto3 scalars have no presence: 0 is "zero or not sent". Presence exists for sub-messages
only, so the fields are handed on in the groups in which they come or do not come.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError as ProtobufDecodeError

from ingest.model import DayCandle, Depth, Frame, FrameType, Greeks, Mode, Update
from ingest.proto import upstox_feed_v3_pb2 as pb
from sql.errors import DecodeError

# A currentTs outside of these is not a time of this market (2010 to 2100).
CURRENT_MS_MIN = 1_262_304_000_000
CURRENT_MS_MAX = 4_102_444_800_000

_ABSENT = float("nan")
_parse = pb.FeedResponse.FromString
# What the constructor of a named tuple calls in the end, without its frame: 0.5 µs less.
_new_update = tuple.__new__


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
    """Read one feed. Nearly all are `fullFeed.marketFF` with a price, so that way has no question on it.

    Reading an absent sub-message gives an empty one, and each read costs 0.1 to 0.2 µs.
    """
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
    return _new_update(
        Update,
        (
            key, feed.requestMode, ltp, ltpc.ltt, ltpc.ltq, ltpc.cp,
            market.vtt, market.oi, market.atp, market.iv,
            depth, _greeks(market.optionGreeks), _day_candle(market.marketOHLC.ohlc),
        ),
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
