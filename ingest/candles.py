"""Candles: the vendor's REST answers as minute bars. Pure; knows the JSON, not the network.

Shapes are of the feed document, section 7: candles are `[start, open, high, low, close, volume, oi]`
with the start as ISO 8601 in India's time, newest first; quotes carry `prev_ohlc`, the last minute
that is over, beside `live_ohlc`, the one that forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import AwareDatetime, BaseModel

from ingest.decode import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.foreign import each
from ingest.judge import MINUTE_MS
from ingest.official import PRICE_MAX, QUANTITY_MAX
from sql.errors import FeedError

R = TypeVar("R")
ROW = ("start", "open", "high", "low", "close", "volume", "oi")  # of a candle call; the last two may be absent


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
        whole = CURRENT_MS_MIN <= self.bucket_ms <= CURRENT_MS_MAX and self.bucket_ms % MINUTE_MS == 0
        priced = 0 < self.low <= self.open <= self.high < PRICE_MAX and self.low <= self.close <= self.high
        return whole and priced and 0 <= self.volume < QUANTITY_MAX and 0 <= self.oi < QUANTITY_MAX


class _Bar(BaseModel):
    """A bar as the vendor writes it; what it lacks makes it odd."""

    open: float
    high: float
    low: float
    close: float
    volume: int | None = 0
    oi: int | None = 0

    def candle(self, start_ms: int) -> Candle:
        return Candle(start_ms, self.open, self.high, self.low, self.close, self.volume or 0, self.oi or 0)


class _Row(_Bar):
    """A row of a candle call, by name."""

    start: AwareDatetime


class _LastMinute(_Bar):
    ts: int


class _Quote(BaseModel):
    instrument_token: str
    prev_ohlc: _LastMinute | None = None


class _Price(BaseModel):
    instrument_token: str
    last_price: float


def parse_candles(answer: Any) -> list[Candle]:
    """Read the answer of a candle call, oldest first, one a minute; what cannot be a bar is left out.

    Of two for one minute the one with more volume is taken: it was made later, of more trades.

    Raises
    ------
    FeedError
        If the answer has another shape, or none of its rows makes sense.
    """

    def read(row: Sequence[Any]) -> Candle:
        bar = _Row.model_validate(
            dict(zip(("start", "open", "high", "low", "close", "volume", "oi"), row, strict=False))
        )
        return bar.candle(round(bar.start.timestamp() * 1000))

    found: dict[int, Candle] = {}
    for candle in _read(answer, "candles", read, lambda data: data["candles"]):
        if candle.is_possible and (candle.bucket_ms not in found or candle.volume > found[candle.bucket_ms].volume):
            found[candle.bucket_ms] = candle
    return sorted(found.values())


def parse_quotes(answer: Any) -> dict[str, Candle]:
    """Read the answer of an OHLC quote call: the last minute that is over, by instrument key.

    Raises
    ------
    FeedError
        If the answer has another shape, or none of its quotes makes sense.
    """
    quotes = _read(answer, "quotes", _Quote.model_validate, lambda data: data.values())
    bars = {quote.instrument_token: quote.prev_ohlc for quote in quotes if quote.prev_ohlc is not None}
    candles = {key: bar.candle(bar.ts) for key, bar in bars.items()}
    return {key: candle for key, candle in candles.items() if candle.is_possible}


def parse_prices(answer: Any) -> dict[str, float]:
    """Read the answer of an LTP quote call: the last price by instrument key; 0 is "no data" and left out.

    Raises
    ------
    FeedError
        If the answer has another shape, or none of its prices makes sense.
    """
    prices = _read(answer, "prices", _Price.model_validate, lambda data: data.values())
    return {price.instrument_token: price.last_price for price in prices if 0 < price.last_price < PRICE_MAX}


def _read(answer: Any, what: str, read: Callable[[Any], R], items: Callable[[Any], Iterable[Any]]) -> list[R]:
    """Read the items of an answer; one that is odd is left out."""
    try:
        return each(items(answer["data"]), read)[0]
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise FeedError(f"{what} are not understood: {type(exc).__name__}: the vendor has changed them") from exc
