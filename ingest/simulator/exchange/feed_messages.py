"""Build the vendor's messages from columns of updates. Pure; knows the schema, not the market."""

from __future__ import annotations

from typing import NamedTuple

from ingest.proto import upstox_feed_v3_pb2 as pb

Greeks = tuple[float, float, float, float, float]  # delta, theta, gamma, vega, rho
Level = tuple[int, float, int, float]  # bid quantity, bid, ask quantity, ask
Candle = tuple[float, float, float, float, int, int]  # open, high, low, close, volume, start (epoch ms)


class UpdateValues(NamedTuple):
    """Values of one update; prices in rupees, quantities in units, times in epoch milliseconds."""

    ltp: float
    ltt_ms: int
    ltq: int
    prev_close: float
    vtt: int
    oi: int
    atp: float
    iv: float
    tbq: float
    tsq: float
    day: Candle
    minute: Candle | None  # the last completed minute


def market_feed(values: UpdateValues, levels: list[Level], greeks: Greeks | None) -> pb.Feed:
    """Build the feed of a share, future or option; fields that are 0 are not written on the wire."""
    feed = pb.Feed(requestMode=pb.full_d5 if len(levels) <= 5 else pb.full_d30)
    market = feed.fullFeed.marketFF
    _fill_ltpc(market.ltpc, values)
    market.atp = values.atp
    market.vtt = values.vtt
    market.oi = values.oi
    market.iv = values.iv
    market.tbq = values.tbq
    market.tsq = values.tsq
    add = market.marketLevel.bidAskQuote.add
    for bid_quantity, bid, ask_quantity, ask in levels:
        add(bidQ=bid_quantity, bidP=bid, askQ=ask_quantity, askP=ask)
    if greeks is None:
        market.optionGreeks.SetInParent()  # the vendor sends an empty message
    else:
        own = market.optionGreeks
        own.delta, own.theta, own.gamma, own.vega, own.rho = greeks
    _fill_candles(market.marketOHLC, values)
    return feed


def index_feed(values: UpdateValues) -> pb.Feed:
    """Build the feed of an index: only price and candles."""
    feed = pb.Feed(requestMode=pb.full_d5)
    index = feed.fullFeed.indexFF
    _fill_ltpc(index.ltpc, values)
    _fill_candles(index.marketOHLC, values)
    return feed


def _fill_ltpc(ltpc: pb.LTPC, values: UpdateValues) -> None:
    ltpc.ltp = values.ltp
    ltpc.ltt = values.ltt_ms
    ltpc.ltq = values.ltq
    ltpc.cp = values.prev_close


def _fill_candles(candles: pb.MarketOHLC, values: UpdateValues) -> None:
    for interval, candle in (("1d", values.day), ("I1", values.minute)):
        if candle is not None:
            opened, high, low, close, volume, start_ms = candle
            candles.ohlc.add(interval=interval, open=opened, high=high, low=low, close=close, vol=volume, ts=start_ms)
