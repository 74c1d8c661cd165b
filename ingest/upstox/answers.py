"""Convert the vendor's REST answers to minute bars and calendars. Pure; knows the JSON, not the network.

Shapes as in the feed document, section 7: candles are `[start, open, high, low, close, volume, oi]`
with the start as ISO 8601 in Indian time, newest first; quotes have `prev_ohlc`, the last completed
minute, and `live_ohlc`, the minute in progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import AwareDatetime, BaseModel

from ingest.errors import FeedError
from ingest.market.calendar import Calendar, Hours
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN, MINUTE_MS, utc_of_ms
from ingest.model.ticks import PRICE_MAX, QUANTITY_MAX
from ingest.upstox.foreign import each

YEAR_MIN, YEAR_MAX = 1990, 2100  # the electronic market's first years, and further than any calendar says


def calendar_of(
    holidays: Sequence[Mapping[str, Any]],
    timings: Mapping[str, Sequence[Mapping[str, Any]]],
    fetched_at: datetime | None = None,
) -> Calendar:
    """Build a calendar from the vendor's answers.

    Parameters
    ----------
    holidays
        Rows of `/v2/market/holidays`: date, holiday_type, closed_exchanges, open_exchanges.
    timings
        Day as YYYY-MM-DD -> rows of `/v2/market/timings/{day}`: exchange, start_time, end_time (epoch ms).
    fetched_at
        When they were fetched.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If the answers have another form. An odd row is skipped alone.
    """
    days: dict[date, Mapping[str, Hours]] = {}
    closed: dict[date, frozenset[str]] = {}

    def note(row: Mapping[str, Any]) -> None:
        day = date.fromisoformat(row["date"])
        if row.get("holiday_type") == "SETTLEMENT_HOLIDAY":  # banks are closed, the exchange is not
            return
        if opened := row.get("open_exchanges"):
            days[day] = _hours_of(opened)
        else:
            closed[day] = frozenset(row.get("closed_exchanges") or ())

    each(holidays, note)
    for text, rows in timings.items():
        if rows:  # no rows: a holiday, or no answer at all, so the list of holidays and the weekday decide
            days[date.fromisoformat(text)] = _hours_of(rows)
    return Calendar(days, closed, fetched_at)


def _hours_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Hours]:
    return dict(each(rows, _exchange_hours)[0])


def _exchange_hours(row: Mapping[str, Any]) -> tuple[str, Hours]:
    opens, closes = (utc_of_ms(row[name]) for name in ("start_time", "end_time"))
    if opens.year < YEAR_MIN or closes.year > YEAR_MAX:
        raise ValueError("no time of a market")
    return str(row["exchange"]), Hours(opens, closes)


R = TypeVar("R")


class Candle(NamedTuple):
    """A minute bar from REST, in rupees and units."""

    bucket_ms: int  # start, epoch ms
    open: float
    high: float
    low: float
    close: float
    volume: int
    oi: int

    @property
    def is_possible(self) -> bool:
        """Whether it can be a bar; NaN fails every comparison."""
        whole = CURRENT_MS_MIN <= self.bucket_ms <= CURRENT_MS_MAX and self.bucket_ms % MINUTE_MS == 0
        priced = 0 < self.low <= self.open <= self.high < PRICE_MAX and self.low <= self.close <= self.high
        return whole and priced and 0 <= self.volume < QUANTITY_MAX and 0 <= self.oi < QUANTITY_MAX


class _Bar(BaseModel):
    """A bar as the vendor writes it; a missing field makes it invalid."""

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
    """Parse the answer of a candle call into bars, oldest first, one per minute; skip impossible bars.

    Of two bars for one minute, take the one with more volume: it was made later, from more trades.

    Raises
    ------
    FeedError
        If the answer has another shape, or none of its rows can be read.
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
    """Parse the answer of an OHLC quote call: the last completed minute, by instrument key.

    Raises
    ------
    FeedError
        If the answer has another shape, or none of its quotes can be read.
    """
    quotes = _read(answer, "quotes", _Quote.model_validate, lambda data: data.values())
    bars = {quote.instrument_token: quote.prev_ohlc for quote in quotes if quote.prev_ohlc is not None}
    candles = {key: bar.candle(bar.ts) for key, bar in bars.items()}
    return {key: candle for key, candle in candles.items() if candle.is_possible}


def parse_prices(answer: Any) -> dict[str, float]:
    """Parse the answer of an LTP quote call: the last price by instrument key; skip 0, which means "no data".

    Raises
    ------
    FeedError
        If the answer has another shape, or none of its prices can be read.
    """
    prices = _read(answer, "prices", _Price.model_validate, lambda data: data.values())
    return {price.instrument_token: price.last_price for price in prices if 0 < price.last_price < PRICE_MAX}


def _read(answer: Any, what: str, read: Callable[[Any], R], items: Callable[[Any], Iterable[Any]]) -> list[R]:
    """Read the items of an answer; skip invalid ones."""
    try:
        return each(items(answer["data"]), read)[0]
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise FeedError(f"{what} are not understood: {type(exc).__name__}: the vendor has changed them") from exc
