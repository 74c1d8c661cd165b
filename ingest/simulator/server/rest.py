"""The vendor's minute bars over HTTP, computed from the market being played.

Owns the endpoints of candles and quotes, their delay and their limits. Intraday candles appear later
than the feed's, like the vendor's; once the play has ended they are all available.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from aiohttp import web

from ingest.market.shown_time import INDIA
from ingest.market.time import MINUTE_MS
from ingest.simulator.server.faults import Faults
from ingest.simulator.server.player import Phase, Player
from ingest.simulator.source import MinuteBar, Source

INTRADAY_PATH = "/v3/historical-candle/intraday/{key}/minutes/1"
HISTORICAL_PATH = "/v3/historical-candle/{key}/minutes/1/{last}/{first}"
QUOTES_PATH = "/v3/market-quote/ohlc"
PRICES_PATH = "/v3/market-quote/ltp"
QUOTES_KEYS_MAX = 500
CANDLE_LAG_MS = 150_000  # two to three minutes
LIMITS = ((50, 1.0), (500, 60.0), (2_000, 1_800.0))  # requests, seconds


class Rest:
    """The endpoints for a market and its player."""

    def __init__(self, source: Source, player: Player, faults: Faults) -> None:
        self.source, self.player, self.faults = source, player, faults
        self.requests = 0
        self._times: deque[float] = deque(maxlen=LIMITS[-1][0])

    def answer(self, request: web.Request) -> dict[str, Any] | int:
        """Answer a request, or return the status to refuse it with."""
        if refusal := self._refusal():
            return refusal
        if request.path in {QUOTES_PATH, PRICES_PATH}:
            keys = request.query.get("instrument_key", "").split(",")
            if len(keys) > QUOTES_KEYS_MAX:
                return 400
            return self._quotes(keys) if request.path == QUOTES_PATH else self._prices(keys)
        key = request.match_info["key"]
        return self._historical(key, request.match_info) if "first" in request.match_info else self._intraday(key)

    def _refusal(self) -> int | None:
        self.requests += 1
        now = time.monotonic()
        for count, seconds in LIMITS:
            if len(self._times) >= count and now - self._times[-count] < seconds:
                return 429
        self._times.append(now)
        if self.faults.busy_every and self.requests % self.faults.busy_every == 0:
            return 429
        return None

    def _intraday(self, key: str) -> dict[str, Any]:
        """Answer with the candles of the market's day that are published by now."""
        playing = self.player.phase is Phase.PLAYING
        known_ms = self.player.current_ms - CANDLE_LAG_MS if playing else math.inf  # of the last play
        return _candles(bar for bar in self._bars(key) if bar.minute_ms + MINUTE_MS <= known_ms)

    def _historical(self, key: str, days: Mapping[str, str]) -> dict[str, Any] | int:
        """Answer with the candles of past days; the market's own day is available by its date."""
        try:
            first, last = date.fromisoformat(days["first"]), date.fromisoformat(days["last"])
        except ValueError:
            return 400
        return _candles(bar for bar in self._bars(key) if first <= _start(bar).date() <= last)

    def _prices(self, keys: list[str]) -> dict[str, Any]:
        """Answer with the last price of each key, as in the feed now."""
        found = {
            key.replace("|", ":"): {"last_price": trade.ltp, "instrument_token": key, "ltq": trade.ltq, "cp": trade.cp}
            for key in keys
            if (trade := self.player.last_trade(key)) is not None
        }
        return {"status": "success", "data": found}

    def _quotes(self, keys: list[str]) -> dict[str, Any]:
        """Answer with the last completed minute of each key."""
        found = {}
        for key in keys:
            over = [bar for bar in self._bars(key) if bar.minute_ms + MINUTE_MS <= self.player.current_ms]
            if over:
                _, minute_ms, open_, high, low, close, volume = over[-1]
                bar = {"open": open_, "high": high, "low": low, "close": close, "volume": volume, "ts": minute_ms}
                quote = {"last_price": close, "instrument_token": key, "prev_ohlc": bar, "live_ohlc": None}
                found[key.replace("|", ":")] = quote
        return {"status": "success", "data": found}

    def _bars(self, key: str) -> list[MinuteBar]:
        return [bar for bar in self.source.minute_bars(key) if (key, bar.minute_ms) not in self.faults.no_candle]


def _start(bar: MinuteBar) -> datetime:
    return datetime.fromtimestamp(bar.minute_ms / 1000, INDIA)


def _candles(bars: Iterable[MinuteBar]) -> dict[str, Any]:
    """Build the vendor's answer: newest first, start of the minute in Indian time, no open interest."""
    rows = [[_start(bar).isoformat(), *bar[2:6], bar.volume, 0] for bar in bars]
    return {"status": "success", "data": {"candles": rows[::-1]}}
