"""Bring the fields of all feed kinds into the same columns. Pure; merges nothing, judges nothing.

A market's full feed, an index's full feed, the first level with greeks and the bare price keep shared fields in
messages of the same types, so each column is filled from whichever of these messages is present.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.decode.columns import ALL, Columns, Rows, Text, within
from ingest.model.frames import Candles, Mode, Updates
from ingest.model.ticks import CARRIED_NAMES, Floats, Integers, Mask

_DEPTH = {"bid": "bidP", "bid_qty": "bidQ", "ask": "askP", "ask_qty": "askQ"}
_TOTALS = ("tbq", "tsq")
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")
_DAY = {"day_open": "open", "day_high": "high", "day_low": "low"}
_PRICES = ("open", "high", "low", "close")
_DAY_INTERVAL, _MINUTE_INTERVAL = b"1d", b"I1"
_COLUMN = {name: index for index, name in enumerate(CARRIED_NAMES)}
# Columns that read as zero where not sent; the others are undefined there, see `Updates.has_depth` and the like.
_ZERO = [_COLUMN[name] for name in ("prev_close", "atp", "oi", "iv", *_GREEKS)]


def read_feeds(keys: list[str], feeds: Columns | None) -> tuple[Updates, Candles, Mask]:
    """Convert feeds to columns.

    Parameters
    ----------
    keys
        The instrument key of each feed.
    feeds
        The `Feed` messages; None if there are none.

    Returns
    -------
    tuple
        The updates, the candles of their last minutes, and a mask of messages not in a serialiser's form.
    """
    count = len(keys)
    odd = np.zeros(count, np.bool_)
    feeds = feeds or Columns(np.zeros(0, np.int64))
    full, first = feeds.messages.get("fullFeed"), feeds.messages.get("firstLevelWithGreeks")
    market, index = (full.messages.get(name) if full else None for name in ("marketFF", "indexFF"))
    carried = np.full((count, len(CARRIED_NAMES)), np.nan)
    carried[:, _ZERO] = 0.0
    mode, ltt_ms, ltq, vtt = (np.zeros(count, np.int64) for _ in range(4))
    ltp = np.zeros(count)
    if full:
        requested = np.zeros(count, np.int64)
        requested[feeds.rows] = feeds.number("requestMode")
        mode[full.rows] = requested[full.rows]
    if first:
        mode[first.rows] = Mode.OPTION_GREEKS
    for prices in _inside("ltpc", market, index, first, feeds):
        ltp[prices.rows], ltt_ms[prices.rows] = prices.number("ltp"), prices.number("ltt")
        ltq[prices.rows] = prices.number("ltq")
        carried[prices.rows, _COLUMN["prev_close"]] = prices.number("cp")
    for message in _present(market, first):
        vtt[message.rows] = message.number("vtt")
        for name in ("oi", "iv"):
            carried[message.rows, _COLUMN[name]] = message.number(name)
    if market:
        carried[market.rows, _COLUMN["atp"]] = market.number("atp")
    for greeks in _inside("optionGreeks", market, first):
        for name in _GREEKS:
            carried[greeks.rows, _COLUMN[name]] = greeks.number(name)
    has_day_candle, day_start_ms, minute_ms, candles = _read_candles(market, index, carried, odd)
    updates = Updates(
        keys=keys,
        mode=mode,
        ltp=ltp,
        ltt_ms=ltt_ms,
        ltq=ltq,
        vtt=vtt,
        has_depth=_read_depth(market, first, carried),
        # Instruments without greeks get an empty message.
        has_greeks=(carried[:, _COLUMN["vega"]] != 0) | (carried[:, _COLUMN["delta"]] != 0),
        has_day_candle=has_day_candle,
        day_start_ms=day_start_ms,
        minute_ms=minute_ms,
        minute_row=np.arange(count),
        carried=carried,
    )
    return updates, candles, odd


def _present(*messages: Columns | None) -> Iterator[Columns]:
    return (message for message in messages if message)


def _inside(name: str, *messages: Columns | None) -> Iterator[Columns]:
    """Return the messages of this name inside the others, where present."""
    return _present(*(message.messages.get(name) for message in _present(*messages)))


def _read_depth(market: Columns | None, first: Columns | None, carried: Floats) -> Mask:
    """Read the best level of the book; return which updates have one."""
    has_depth = np.zeros(len(carried), np.bool_)
    for levels in _inside("marketLevel", market):
        for best in levels.repeated.get("bidAskQuote", [])[:1]:
            has_depth[best.rows] = True
            _put(carried, best.rows, {column: best.number(name) for column, name in _DEPTH.items()})
        assert market is not None
        for name in _TOTALS:
            total = np.full(len(carried), np.nan)
            total[market.rows] = market.number(name)
            carried[has_depth, _COLUMN[name]] = total[has_depth]
    for best in _inside("firstDepth", first):  # this mode lacks the totals of the book
        has_depth[best.rows] = True
        _put(carried, best.rows, {column: best.number(name) for column, name in _DEPTH.items()})
    return has_depth


def _put(carried: Floats, rows: Rows, values: dict[str, Any]) -> None:
    for column, value in values.items():
        carried[rows, _COLUMN[column]] = value


def _read_candles(
    market: Columns | None, index: Columns | None, carried: Floats, odd: Mask
) -> tuple[Mask, Integers, Integers, Candles]:
    """Read candle "1d", and "I1" of the last completed minute: found by their interval, not by position.

    If an interval occurs more than once, the first candle counts.
    """
    count = len(carried)
    has_day, has_minute = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    day_start_ms, minute_ms, volume = (np.zeros(count, np.int64) for _ in range(3))
    prices = [np.zeros(count) for _ in _PRICES]
    for candles in _inside("marketOHLC", market, index):
        for candle in candles.repeated.get("ohlc", []):
            if (interval := candle.texts.get("interval")) is None:
                continue
            is_day, is_minute = interval.equals(_DAY_INTERVAL), interval.equals(_MINUTE_INTERVAL)
            if (which := _first(candle, is_day, has_day)) is not None:
                rows = within(candle.rows, which)
                day_start_ms[rows] = _some(candle.number("ts"), which)
                _put(carried, rows, {column: _some(candle.number(name), which) for column, name in _DAY.items()})
            if (which := _first(candle, is_minute, has_minute)) is not None:
                rows = within(candle.rows, which)
                minute_ms[rows], volume[rows] = (_some(candle.number(name), which) for name in ("ts", "vol"))
                for name, column in zip(_PRICES, prices, strict=True):
                    column[rows] = _some(candle.number(name), which)
            _find_no_texts(candle, interval, ~(is_day | is_minute), odd)
    return has_day, day_start_ms, minute_ms, Candles(prices[0], prices[1], prices[2], prices[3], volume)


def _first(candle: Columns, wanted: Mask, has: Mask) -> Rows | None:
    """Return which wanted candles are the first of their update, and mark those updates; None if there are none."""
    wanted = wanted & ~has[candle.rows]
    found = np.count_nonzero(wanted)
    if not found:
        return None
    which: Rows = ALL if found == len(wanted) else np.flatnonzero(wanted)
    has[within(candle.rows, which)] = True
    return which


def _some(values: NDArray[Any] | int, which: Rows) -> Any:
    return values[which] if isinstance(values, np.ndarray) else values


def _find_no_texts(candle: Columns, interval: Text, unknown: Mask, odd: Mask) -> None:
    """Mark updates with an interval that is unknown and may not be valid text."""
    for place in np.flatnonzero(unknown).tolist():
        letters = interval.data[int(interval.begin[place]) : int(interval.end[place])]
        odd[within(candle.rows, np.array([place]))] |= bool((letters > 127).any())
