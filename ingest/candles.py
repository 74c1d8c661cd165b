"""Candles: the vendor's REST answers as minute bars. Pure; knows the JSON, not the network.

Shapes are of the feed document, section 7: candles are `[start, open, high, low, close, volume, oi]`
with the start as ISO 8601 in India's time, newest first; quotes carry `prev_ohlc`, the last minute
that is over, beside `live_ohlc`, the one that forms.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from ingest.judge import MINUTE_MS
from ingest.official import PRICE_MAX, QUANTITY_MAX
from sql.errors import FeedError


class Candle(NamedTuple):
    """A minute bar as REST has it; rupees and units."""

    bucket_ms: int  # start, epoch ms
    open: float
    high: float
    low: float
    close: float
    volume: int
    oi: int

    @property
    def is_possible(self) -> bool:
        """Whether it can be a bar: NaN and nonsense fail every comparison."""
        whole = self.bucket_ms % MINUTE_MS == 0
        priced = 0 < self.low <= self.open <= self.high < PRICE_MAX and self.low <= self.close <= self.high
        return whole and priced and 0 <= self.volume < QUANTITY_MAX


def parse_candles(answer: Any) -> list[Candle]:
    """Read the answer of a candle call, oldest first; what cannot be a bar is left out.

    Raises
    ------
    FeedError
        If the answer has another shape.
    """
    try:
        rows: Iterable[Any] = answer["data"]["candles"]
        found = []
        for row in rows:
            open_, high, low, close = (float(price) for price in row[1:5])
            start_ms = round(datetime.fromisoformat(row[0]).timestamp() * 1000)
            found.append(Candle(start_ms, open_, high, low, close, int(row[5]), int(row[6]) if len(row) > 6 else 0))
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as exc:
        raise FeedError(f"candles are not understood: {exc!r}: the vendor has changed them") from exc
    return sorted(candle for candle in found if candle.is_possible)


def parse_quotes(answer: Any) -> dict[str, Candle]:
    """Read the answer of an OHLC quote call: the last minute that is over, by instrument key.

    Raises
    ------
    FeedError
        If the answer has another shape.
    """
    found: dict[str, Candle] = {}
    try:
        for quote in answer["data"].values():
            bar = quote.get("prev_ohlc")
            if bar is None:
                continue
            open_, high, low, close = (float(bar[name]) for name in ("open", "high", "low", "close"))
            candle = Candle(int(bar["ts"]), open_, high, low, close, int(bar.get("volume") or 0), 0)
            if candle.is_possible:
                found[str(quote["instrument_token"])] = candle
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        raise FeedError(f"quotes are not understood: {exc!r}: the vendor has changed them") from exc
    return found


def parse_prices(answer: Any) -> dict[str, float]:
    """Read the answer of an LTP quote call: the last price by instrument key; 0 is "no data" and left out.

    Raises
    ------
    FeedError
        If the answer has another shape.
    """
    try:
        found = {str(quote["instrument_token"]): float(quote["last_price"]) for quote in answer["data"].values()}
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise FeedError(f"prices are not understood: {exc!r}: the vendor has changed them") from exc
    return {key: price for key, price in found.items() if 0 < price < PRICE_MAX}
