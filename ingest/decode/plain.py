"""Read frames into columns: the plain decoder, over protobuf's own classes. Pure.

It runs where the compiled module is missing, and is its reference: what both read is the same, but for the order of
the updates of one frame, which is by key here (protobuf's maps have no order) and as sent there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ingest.decode.columns import Columns
from ingest.decode.frame_limits import excess_of
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.model.frames import Candles, Mode, Updates
from ingest.model.ticks import CARRIED_NAMES
from ingest.proto import upstox_feed_v3_pb2 as pb

_NAN = float("nan")
_NO_DEPTH = (_NAN, _NAN, _NAN, _NAN)


class _Row(NamedTuple):
    """One update as it stands in the columns."""

    key: str
    mode: int
    prices: pb.LTPC
    vtt: int
    has_depth: bool
    day: pb.OHLC | None
    minute: pb.OHLC
    carried: tuple[float, ...]
    book: tuple[float, ...] = ()


def read(payloads: Sequence[bytes], levels: int = 0) -> Columns:
    """Read frames into columns, with so many levels of the book; see `Columns`. `unsure`: not wholly a feed."""
    types, times, ends = ([0] * len(payloads), [0] * len(payloads), [0])
    unsure: list[int] = []
    rows: list[_Row] = []
    for index, payload in enumerate(payloads):
        if (message := _feed_of(payload)) is None:
            unsure.append(index)
        else:
            types[index], times[index] = message.type, message.currentTs
            rows += (_row(key, message.feeds[key], levels) for key in sorted(message.feeds))
        ends.append(len(rows))
    carried = np.array([row.carried for row in rows], np.float64).reshape(len(rows), len(CARRIED_NAMES))
    greeks = carried[:, [CARRIED_NAMES.index("delta"), CARRIED_NAMES.index("vega")]]
    updates = Updates(
        keys=[row.key for row in rows],
        mode=np.array([row.mode for row in rows], np.int64),
        ltp=np.array([row.prices.ltp for row in rows], np.float64),
        ltt_ms=np.array([row.prices.ltt for row in rows], np.int64),
        ltq=np.array([row.prices.ltq for row in rows], np.int64),
        vtt=np.array([row.vtt for row in rows], np.int64),
        has_depth=np.array([row.has_depth for row in rows], np.bool_),
        has_greeks=(greeks != 0).any(axis=1),  # instruments without greeks get an empty message
        has_day_candle=np.array([row.day is not None for row in rows], np.bool_),
        day_start_ms=np.array([row.day.ts if row.day else 0 for row in rows], np.int64),
        minute_ms=np.array([row.minute.ts for row in rows], np.int64),
        minute_row=np.arange(len(rows)),
        carried=carried,
        book=np.array([row.book or (_NAN,) * (4 * levels) for row in rows], np.float64).reshape(len(rows), 4 * levels),
    )
    prices = np.array(
        [(row.minute.open, row.minute.high, row.minute.low, row.minute.close) for row in rows], np.float64
    )
    open_, high, low, close = prices.reshape(len(rows), 4).T
    candles = Candles(open_, high, low, close, np.array([row.minute.vol for row in rows], np.int64))
    return Columns(np.array(types, np.int64), np.array(times, np.int64), np.array(ends), unsure, updates, candles)


def _feed_of(payload: bytes) -> pb.FeedResponse | None:
    """Parse a frame; None if it is anything but a feed of a possible time."""
    try:
        message = None if excess_of(payload) else pb.FeedResponse.FromString(payload)
    except ProtobufDecodeError:
        return None
    if message is None or message.type == pb.market_info or message.HasField("marketInfo"):
        return None
    return message if CURRENT_MS_MIN <= message.currentTs <= CURRENT_MS_MAX else None


def _row(key: str, feed: pb.Feed, levels: int) -> _Row:
    """Read a feed; an absent message reads as an empty one."""
    match feed.WhichOneof("FeedUnion"):
        case "fullFeed" if feed.fullFeed.WhichOneof("FullFeedUnion") == "indexFF":
            index = feed.fullFeed.indexFF
            return _full(key, feed.requestMode, index.ltpc, index.marketOHLC, pb.MarketFullFeed())
        case "fullFeed":
            market = feed.fullFeed.marketFF
            full = _full(key, feed.requestMode, market.ltpc, market.marketOHLC, market)
            return full._replace(book=_book(market.marketLevel.bidAskQuote, levels))
        case "firstLevelWithGreeks":
            first = feed.firstLevelWithGreeks
            has_depth = first.HasField("firstDepth")
            depth = _depth(first.firstDepth) if has_depth else _NO_DEPTH  # without the totals of the book
            carried = _carried(first.ltpc, first.optionGreeks, depth, oi=first.oi, atp=0.0, iv=first.iv)
            return _Row(key, Mode.OPTION_GREEKS, first.ltpc, first.vtt, has_depth, None, pb.OHLC(), carried)
        case _:
            carried = _carried(feed.ltpc, pb.OptionGreeks(), oi=0.0, atp=0.0, iv=0.0)
            return _Row(key, Mode.LTPC, feed.ltpc, 0, False, None, pb.OHLC(), carried)


def _full(key: str, mode: int, prices: pb.LTPC, candles: pb.MarketOHLC, market: pb.MarketFullFeed) -> _Row:
    levels = market.marketLevel.bidAskQuote
    depth, totals = (_depth(levels[0]), (market.tbq, market.tsq)) if levels else (_NO_DEPTH, (_NAN, _NAN))
    day, minute = _candle(candles, "1d"), _candle(candles, "I1") or pb.OHLC()
    carried = _carried(prices, market.optionGreeks, depth, totals, day, oi=market.oi, atp=market.atp, iv=market.iv)
    return _Row(key, mode, prices, market.vtt, bool(levels), day, minute, carried)


def _carried(
    prices: pb.LTPC,
    greeks: pb.OptionGreeks,
    depth: tuple[float, float, float, float] = _NO_DEPTH,
    totals: tuple[float, float] = (_NAN, _NAN),
    day: pb.OHLC | None = None,
    *,
    oi: float,
    atp: float,
    iv: float,
) -> tuple[float, ...]:
    """Return the values in the order of `CARRIED_NAMES`."""
    prices_of_day = (day.open, day.high, day.low) if day else (_NAN, _NAN, _NAN)
    of_greeks = (greeks.delta, greeks.gamma, greeks.theta, greeks.vega, greeks.rho)
    return (oi, atp, *totals, *depth, iv, *of_greeks, *prices_of_day, prices.cp)


def _book(quotes: Sequence[pb.Quote], levels: int) -> tuple[float, ...]:
    """Return the first levels of a book, with NaN for those that were not sent."""
    values = tuple(value for quote in quotes[:levels] for value in _depth(quote))
    return values + (_NAN,) * (4 * levels - len(values))


def _depth(best: pb.Quote) -> tuple[float, float, float, float]:
    return best.bidP, best.bidQ, best.askP, best.askQ


def _candle(candles: pb.MarketOHLC, interval: str) -> pb.OHLC | None:
    """Return the first candle of an interval: it is found by its name, not by its position."""
    return next((candle for candle in candles.ohlc if candle.interval == interval), None)
