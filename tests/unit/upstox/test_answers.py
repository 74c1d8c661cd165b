"""Answers of the vendor's REST API, as documented, and what is made of others."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.errors import FeedError
from ingest.upstox.answers import Candle, parse_candles, parse_prices, parse_quotes

MINUTE_MS = 1_765_770_300_000  # 15 Dec 2025 09:15 IST
ROW = ["2025-12-15T09:15:00+05:30", 100.0, 101.0, 99.5, 100.5, 75, 1500]


def answer(*rows: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"candles": list(rows)}}


def test_candles_come_newest_first_and_are_returned_oldest_first() -> None:
    later = ["2025-12-15T09:16:00+05:30", 100, 101, 99, 100, 0, 0]
    assert parse_candles(answer(later, ROW)) == [
        Candle(MINUTE_MS, 100.0, 101.0, 99.5, 100.5, 75, 1500),
        Candle(MINUTE_MS + 60_000, 100.0, 101.0, 99.0, 100.0, 0, 0),
    ]


@pytest.mark.parametrize(
    "change",
    [
        *({1: 98.0}, {2: 100.0}, {3: 0.0}, {4: float("nan")}, {2: float("inf")}, {5: -1}, {6: -1}, {6: 2**70}),
        *({0: "2025-12-15T09:15:30+05:30"}, {0: "0001-01-01T00:00:00+05:30"}, {0: "9999-12-31T23:59:00-05:30"}),
    ],
    ids=repr,
)
def test_candle_that_cannot_be_is_left_out(change: dict[int, Any]) -> None:
    assert parse_candles(answer([change.get(index, value) for index, value in enumerate(ROW)])) == []


@pytest.mark.parametrize(
    "given", [None, {}, {"data": None}, {"data": {"candles": [["x"]]}}, answer(["today", *ROW[1:]])]
)
def test_answer_of_another_shape_is_an_error(given: Any) -> None:
    with pytest.raises(FeedError, match="candles are not understood"):
        parse_candles(given)


@pytest.mark.parametrize(
    "odd",
    [None, [], ["today", *ROW[1:]], [ROW[0], None, *ROW[2:]], [1e30, *ROW[1:]], [*ROW[:5], "many"], {"start": 1}, "x"],
    ids=repr,
)
def test_candle_that_is_odd_costs_itself(odd: Any) -> None:
    later = ["2025-12-15T09:16:00+05:30", *ROW[1:]]
    assert [candle.bucket_ms for candle in parse_candles(answer(later, odd, ROW))] == [MINUTE_MS, MINUTE_MS + 60_000]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_candles_for_one_minute_the_one_of_more_trades_is_taken(order: int) -> None:
    partial = [ROW[0], 100.0, 100.5, 99.5, 100.0, 40, 1400]
    (found,) = parse_candles(answer(*[partial, ROW][::order]))
    assert (found.volume, found.high) == (75, 101.0)


def test_candle_without_volume_is_one_of_an_index() -> None:
    (found,) = parse_candles(answer([*ROW[:5], None]))
    assert (found.volume, found.oi) == (0, 0)


def test_quote_and_price_that_are_odd_cost_themselves() -> None:
    bar = {"open": 100.0, "high": 101.0, "low": 99.5, "close": 100.5, "volume": 75, "ts": MINUTE_MS}
    odd: dict[str, Any] = {"a": None, "b": {"instrument_token": 1}, "c": {"prev_ohlc": bar}, "d": [bar]}
    odd["e"] = {"instrument_token": "NSE_FO|2", "prev_ohlc": bar | {"ts": 1e30}, "last_price": "much"}
    quote = {"instrument_token": "NSE_FO|1", "prev_ohlc": bar, "last_price": 100.5}
    assert list(parse_quotes({"data": odd | {"f": quote}})) == ["NSE_FO|1"]
    assert parse_prices({"data": odd | {"f": quote}}) == {"NSE_FO|1": 100.5}


def test_quotes_give_the_completed_minute_by_the_key_with_the_bar() -> None:
    bar = {"open": 100.0, "high": 101.0, "low": 99.5, "close": 100.5, "volume": 75, "ts": MINUTE_MS}
    forming = bar | {"ts": MINUTE_MS + 60_000}
    data = {
        "NSE_FO:NIFTY": {"instrument_token": "NSE_FO|1", "prev_ohlc": bar, "live_ohlc": forming},
        "NSE_FO:IDLE": {"instrument_token": "NSE_FO|2", "prev_ohlc": None, "live_ohlc": None},
    }
    assert parse_quotes({"data": data}) == {"NSE_FO|1": Candle(MINUTE_MS, 100.0, 101.0, 99.5, 100.5, 75, 0)}
    with pytest.raises(FeedError, match="quotes are not understood"):
        parse_quotes({"data": {"x": {"prev_ohlc": {"open": 1}}}})
