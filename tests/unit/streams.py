"""Random streams: what a feed says of instruments over two days, with all that feeds do. Data for tests.

Each instrument has a market of its own: a price, and a count of volume that begins at 0 with each day and is reset
now and then. Its updates show that market as snapshots do, some of them wrong, stale, partial or empty.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as vendor

from ingest.model.records import RecordKind

CLOSED, OPEN = 3, 2
SEGMENTS = ("NSE_FO", "NSE_FO", "NSE_EQ", "NSE_EQ", "MCX_FO", "NSE_INDEX")
KINDS = {
    "whole": 70, "lower": 5, "stale": 4, "without vtt": 5, "without ltpc": 5, "without ltpc and vtt": 3,
    "empty": 3, "without ltt": 2, "impossible": 1, "other mode": 1, "of the day before": 1, "ahead": 1, "far above": 1,
}  # fmt: skip


class Event(NamedTuple):
    """A record of a journal."""

    kind: RecordKind
    at_ms: int
    payload: bytes


class Shown(NamedTuple):
    """What a snapshot shows."""

    ltp: float
    ltt_ms: int
    ltq: int
    vtt: int
    high: float
    low: float


@dataclass(slots=True)
class Market:
    """One instrument."""

    key: str
    rng: random.Random
    shown: Shown
    mode: str = "full"
    history: list[Shown] = field(default_factory=list)

    def trade_until(self, now_ms: int) -> None:
        """Let some trades happen, of which the feed shows the last only."""
        for _ in range(self.rng.choice((0, 0, 1, 1, 2, 3))):
            before = self.shown
            ltt_ms = self.rng.randint(max(before.ltt_ms, now_ms - 1_500), max(before.ltt_ms, now_ms))
            ltp, ltq = round(before.ltp + self.rng.choice((-0.1, -0.05, 0, 0.05, 0.1)), 2), self.rng.choice((1, 25, 75))
            new_day = day_of(ltt_ms) != day_of(before.ltt_ms)
            vtt = 0 if new_day else before.vtt
            if self.rng.random() < 0.02:  # the exchange's count begins again
                vtt = self.rng.randint(0, 300)
            high, low = (ltp, ltp) if new_day else (max(before.high, ltp), min(before.low, ltp))
            self.shown = Shown(ltp, ltt_ms, ltq, vtt + ltq, high, low)

    def add_to(self, response: vendor.FeedResponse, now_ms: int, *, clean: bool) -> None:
        """Add an update to a frame."""
        self.trade_until(now_ms)
        kind = "whole" if clean else self.rng.choices([*KINDS], [*KINDS.values()])[0]
        shown = self.shown
        if kind == "lower":
            shown = shown._replace(vtt=self.rng.randint(1, max(shown.vtt, 1)), ltt_ms=max(shown.ltt_ms, now_ms - 50))
        elif kind == "stale" and self.history:
            shown = self.rng.choice(self.history[-20:])
        elif kind == "without vtt":
            shown = shown._replace(vtt=0)
        elif kind == "without ltt":
            shown = shown._replace(ltt_ms=0)
        elif kind == "impossible":
            shown = shown._replace(vtt=-1)
        elif kind == "of the day before":  # as a snapshot before the open has it
            shown = shown._replace(ltt_ms=shown.ltt_ms - 86_400_000, vtt=self.rng.randint(1, 90_000))
        elif kind == "ahead":  # by more than a minute: that is no time
            shown = shown._replace(ltt_ms=now_ms + self.rng.choice((60_001, 90_000, 86_400_000)))
        elif kind == "far above":  # all that is true after it is below
            shown = shown._replace(vtt=10 * shown.vtt + 7)
        elif kind == "other mode" and not self.key.startswith("NSE_INDEX"):
            self.mode = self.rng.choice(("full", "ltpc", "option_greeks"))
            self.history.clear()  # a count that nobody saw in the other mode is not shown behind it
        self.history.append(self.shown)
        _fill(response.feeds[self.key], self, shown, kind, now_ms)


def _fill(feed: vendor.Feed, market: Market, shown: Shown, kind: str, now_ms: int) -> None:
    """Write an update as the vendor does."""
    rng, has_ltpc = market.rng, not kind.startswith("without ltpc")
    if kind == "empty":
        feed.ltpc.SetInParent()
        return
    if market.key.startswith("NSE_INDEX"):
        feed.requestMode, body = vendor.full_d5, feed.fullFeed.indexFF
    elif market.mode == "full":
        feed.requestMode, body = vendor.full_d5, feed.fullFeed.marketFF
    elif market.mode == "option_greeks":
        feed.requestMode, body = vendor.option_greeks, feed.firstLevelWithGreeks
    else:
        feed.ltpc.ltp, feed.ltpc.ltt, feed.ltpc.ltq = shown.ltp, shown.ltt_ms, shown.ltq
        return
    if has_ltpc:
        body.ltpc.ltp, body.ltpc.ltt, body.ltpc.ltq = shown.ltp, shown.ltt_ms, shown.ltq
    if market.mode == "full" and rng.random() < 0.8:
        day_ms = day_of(shown.ltt_ms or now_ms) * 86_400_000 - 19_800_000
        body.marketOHLC.ohlc.add(interval="1d", open=100, high=shown.high, low=shown.low, close=shown.ltp, ts=day_ms)
    if market.key.startswith("NSE_INDEX"):
        return
    if kind != "without ltpc and vtt":
        body.vtt = shown.vtt
    if market.key.startswith("NSE_FO"):
        body.oi, body.iv = rng.choice((0, 750, 1500)), rng.choice((0, 0.25))
        body.optionGreeks.delta, body.optionGreeks.vega = rng.choice((0, 0.5)), 1.0
    if market.mode == "full" and (rng.random() < 0.7 or not has_ltpc):
        body.marketLevel.bidAskQuote.add(bidQ=5, bidP=shown.ltp - 0.05, askQ=7, askP=shown.ltp + 0.05)


def day_of(ms: int) -> int:
    """The IST day number of a time."""
    return (ms + 19_800_000) // 86_400_000


def ms_of(clock: str) -> int:
    """Epoch milliseconds of a time in India."""
    return round(datetime.fromisoformat(f"{clock}+05:30").timestamp() * 1000)


SCENES = (
    ("2026-11-26 15:10:00", "2026-11-26 15:13:30"),
    ("2026-11-26 23:57:30", "2026-11-27 00:02:30"),
    ("2026-11-27 09:13:00", "2026-11-27 09:18:00"),
)


def stream(seed: int, instruments: int) -> Iterator[Event]:
    """Yield the records of a journal: two days of some instruments, with breaks."""
    rng = random.Random(seed)
    yesterday = Shown(100.0, ms_of("2026-11-25 15:29:59"), 75, 90_000, 101.0, 99.0)
    markets = [
        Market(f"{SEGMENTS[n % len(SEGMENTS)]}|{seed}-{n}", random.Random(f"{seed}-{n}"), yesterday)
        for n in range(instruments)
    ]
    yield Event(RecordKind.CONNECTED, ms_of(SCENES[0][0]) - 500, b"{}")
    for number, (start, end) in enumerate(SCENES):
        now_ms, end_ms = ms_of(start), ms_of(end)
        yield _status(now_ms, OPEN)
        held, off_ms = list[Event](), 0
        while now_ms < end_ms:
            now_ms += rng.choice((50, 150, 300, 600))
            if rng.random() < 0.01:  # the server's clock steps
                off_ms = rng.choice((0, 0, -20_000, -6_000, 6_000))
            frames = [*_frame(markets, rng, now_ms + off_ms), *held]  # one that was held comes behind the next
            held = frames[:1] if not held and rng.random() < 0.02 else []
            yield from frames[len(held) :]
            if frames and rng.random() < 0.01:  # the last one comes twice
                yield frames[-1]
            if rng.random() < 0.004:  # the connection is lost for a while, some minutes at times
                yield Event(RecordKind.DISCONNECTED, now_ms, b'{"reason": "it broke"}')
                now_ms += rng.choice((1_000, 8_000, 40_000, 100_000))
                yield Event(RecordKind.CONNECTED, now_ms, b"{}")
            if rng.random() < 0.003:  # the feed is silent for a while
                now_ms += rng.choice((10_000, 16_000, 70_000))
            if rng.random() < 0.004:
                key = rng.choice(markets).key
                yield Event(RecordKind.UNSUBSCRIBED, now_ms, f'{{"instrument_keys": ["{key}"]}}'.encode())
        yield from _frame(markets, rng, now_ms + 100, clean=True)
        yield _status(now_ms + 200, CLOSED)
        if number + 1 < len(SCENES) and rng.random() < 0.5:  # else the connection outlasts the night
            yield Event(RecordKind.DISCONNECTED, now_ms + 300, b'{"reason": "it broke"}')
            yield Event(RecordKind.CONNECTED, ms_of(SCENES[number + 1][0]) - 500, b"{}")


def _frame(markets: list[Market], rng: random.Random, now_ms: int, *, clean: bool = False) -> Iterator[Event]:
    response = vendor.FeedResponse(type=vendor.live_feed, currentTs=now_ms)
    for market in markets:
        if clean or market.rng.random() < 0.12:
            market.add_to(response, now_ms, clean=clean)
    if response.feeds:
        yield Event(RecordKind.FRAME, now_ms, response.SerializeToString())


def _status(now_ms: int, status: int) -> Event:
    response = vendor.FeedResponse(type=vendor.market_info, currentTs=now_ms)
    response.marketInfo.segmentStatus["NSE_EQ"] = status
    return Event(RecordKind.FRAME, now_ms, response.SerializeToString())
