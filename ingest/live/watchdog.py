"""Watchdog: check once a second whether connections, feeds and instruments are alive.

    layer        alarm                                     reaction                     counter
    socket       no pong (websockets, TICKLINE_PING_*)     reconnect                    ping_timeouts
    feed         fewer frames per second than usual        warn; reconnect when dead    quiet, slow, reconnects
    instrument   no update after the request, or none      warn, and subscribe again    failed, silent
                 for far longer than usual

No feed or instrument alarm fires while the segment is closed, as told by the feed's own `market_info` and
time in the consumers. A consumer that lags, for example while the database is away, is not asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from ingest.feed.connection import FeedConnection
from ingest.feed.frame_rate import FrameRate, Verdict
from ingest.feed.lifecycle import State
from ingest.feed.market_now import MarketNow, segments_of
from ingest.feed.usual_rate import Usual, UsualRates
from ingest.feed.usual_rate_file import load_usual_rates, store_usual_rates
from ingest.live.stream import Stream
from ingest.model.ticks import Integers
from ingest.pipeline.breaks import BreakDetector
from ingest.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 1.0
NAMED_MAX = 10  # keys in one log line
LAG_BYTES_MAX = 2**20  # a consumer further behind has not seen the newest updates yet


@dataclass(slots=True)
class Alarms:
    """Number of alarms of each kind since the start."""

    quiet: int = 0
    slow: int = 0
    failed: int = 0
    silent: int = 0
    asked_again: int = 0


@dataclass(slots=True)
class _Looked:
    """State of a connection between two checks."""

    frame_rate: FrameRate = field(default_factory=FrameRate)
    verdict: Verdict = Verdict.WELL
    connection: int = 0
    minute: datetime | None = None  # the minute whose rate is being measured
    minute_frames: int = 0  # frames received before that minute
    usual: Usual | None = None
    heard_us: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    keys: Mapping[str, str] = field(default_factory=dict)
    segments: frozenset[str] = frozenset()
    was_open: bool = False


class Watchdog:
    """Check the streams and react to alarms.

    Parameters
    ----------
    streams
        The streams to check.
    settings
        Settings with the place where usual rates are stored.
    market
        Market state now.
    """

    def __init__(self, streams: Sequence[Stream], settings: Settings, market: MarketNow) -> None:
        self.time_source = market.time_source
        self.segments = market.segments
        self._market = market
        self.alarms = {feed.name: Alarms() for stream in streams for feed in stream.feeds}
        self._settings = settings
        self._streams = tuple(streams)
        self._feeds = [(stream, feed) for stream in streams for feed in stream.feeds]
        self._looked = {feed.name: _Looked() for stream in streams for feed in stream.feeds}
        usual_rates = load_usual_rates(settings)
        self._usual_rates = {feed.name: usual_rates.get(feed.name, UsualRates()) for _, feed in self._feeds}
        self._learnt = False  # a rate was learnt since the usual rates were stored

    async def run(self) -> None:
        """Check once a second, until cancelled."""
        while True:
            await self.time_source.sleep(LOOK_S)
            self.look(self.time_source.monotonic())
            if self._learnt:
                self._learnt = False
                await asyncio.to_thread(store_usual_rates, self._settings, dict(self._usual_rates))

    def market_time(self) -> datetime | None:
        """Return the feed's time now, aware UTC; None before the first frame."""
        return self._market.time()

    def rate(self, feed: FeedConnection) -> float:
        """Return the frames per second of a connection."""
        return self._looked[feed.name].frame_rate.rate

    def usual_rate(self, feed: FeedConnection) -> float:
        """Return the usual frames per second: of earlier days at this minute, otherwise of the last minutes."""
        looked = self._looked[feed.name]
        return looked.usual.rate if looked.usual else looked.frame_rate.usual

    def verdict(self, feed: FeedConnection) -> Verdict:
        """Return the result of the last check of a connection."""
        return self._looked[feed.name].verdict

    def recorded_segments(self) -> frozenset[str]:
        """Return the segments of all wanted keys."""
        return frozenset().union(*(self._segments_of(stream) for stream in self._streams if stream.feed.keys))

    def is_silent(self, feed: FeedConnection) -> bool:
        """Tell whether an open market's connection has brought no frame for `feed_silent_s`, longer than usual."""
        return self._looked[feed.name].frame_rate.is_silent(self.time_source.monotonic(), self._settings.feed_silent_s)

    def is_open(self, stream: Stream) -> bool:
        """Tell whether a segment of a stream trades now, as far as is known."""
        return bool(self._market.open_of(self._segments_of(stream)))

    def look(self, now_s: float) -> None:
        """Check every stream; `now_s` is monotonic, seconds."""
        detectors = [
            stream.consumer.state.break_detector
            for stream in self._streams
            if any(feed.stats.frames for feed in stream.feeds)
        ]
        newest = max(detectors, key=lambda detector: detector.received_ms, default=BreakDetector())
        self._market.look(newest.last_ms, newest.received_ms)
        for stream, feed in self._feeds:
            looked = self._looked[feed.name]
            if feed.stats.connections != looked.connection:
                looked.connection = feed.stats.connections
                looked.frame_rate.begin(feed.stats.frames, now_s)
            if feed.connected:
                self._look_at_feed(stream, feed, now_s)
                self._look_at_keys(stream, feed, now_s)
            else:
                looked.verdict = Verdict.WELL  # nothing is expected of a closed connection; `life` shows its state

    def _look_at_feed(self, stream: Stream, feed: FeedConnection, now_s: float) -> None:
        looked = self._looked[feed.name]
        before = looked.verdict
        is_open = self.is_open(stream)
        self._learn(feed, is_open=is_open)
        if not is_open or not looked.was_open or feed.life.state is State.SUBSCRIBING:
            looked.frame_rate.begin(feed.stats.frames, now_s)
            looked.verdict = Verdict.WELL
        else:
            looked.verdict = looked.frame_rate.look(feed.stats.frames, now_s, looked.usual)
        looked.was_open = is_open
        if looked.verdict is before or looked.verdict is Verdict.WELL:
            return
        log.warning(
            "feed is %s name=%s frames_per_s=%.1f frames_per_s_usual=%.1f",
            looked.verdict.value,
            feed.name,
            looked.frame_rate.rate,
            self.usual_rate(feed),
        )
        alarms = self.alarms[feed.name]
        if looked.verdict is Verdict.SLOW:
            alarms.slow += 1
        elif looked.verdict is Verdict.QUIET:
            alarms.quiet += 1
            feed.quiet()
        else:
            feed.reconnect("silence of the feed")

    def _learn(self, feed: FeedConnection, *, is_open: bool) -> None:
        """Learn the rate of each full minute of an open market, and look up the usual rate of the current minute."""
        looked, at, frames = self._looked[feed.name], self.market_time(), feed.stats.frames
        if at is None or not is_open or not looked.was_open or feed.life.state is State.SUBSCRIBING:
            looked.minute = looked.usual = None
            return
        minute = at.replace(second=0, microsecond=0)
        if looked.minute == minute:
            return
        usual_rates = self._usual_rates[feed.name]
        if looked.minute is not None and minute - looked.minute == timedelta(minutes=1):
            usual_rates.learn(looked.minute, (frames - looked.minute_frames) / 60, len(feed.keys))
            self._learnt = True
        # The first minute is incomplete, unless the check is at its start.
        looked.minute, looked.minute_frames = minute if looked.minute or at.second <= LOOK_S else None, frames
        looked.usual = usual_rates.usual(at, len(feed.keys))

    def _look_at_keys(self, stream: Stream, feed: FeedConnection, now_s: float) -> None:
        """Confirm keys by their updates; log overdue keys and subscribe to them again."""
        states, alarms = feed.states, self.alarms[feed.name]
        if not stream.consumer.knows_ledger or stream.reader.backlog_bytes() > LAG_BYTES_MAX:
            return
        states.updated(self._heard_keys(stream, feed), now_s)
        open_ = self._market.open_of(self._segments_of(stream))
        found = states.check(now_s, lambda key: key.partition("|")[0] in open_)
        alarms.failed += len(found.failed)
        alarms.silent += len(found.silent)
        for what, keys in (("not answered", found.failed), ("silent", found.silent)):
            if keys:
                named = ", ".join(keys[:NAMED_MAX]) + (" …" if len(keys) > NAMED_MAX else "")
                log.warning("keys %s name=%s keys=%d: %s", what, feed.name, len(keys), named)
        if again := [key for key in found.retry + found.silent if key in feed.keys]:
            alarms.asked_again += len(again)
            feed.ask_again(again)

    def _heard_keys(self, stream: Stream, feed: FeedConnection) -> list[str]:
        """Return the keys that had updates on this connection since the last check."""
        looked = self._looked[feed.name]
        heard_us = stream.consumer.state.normaliser.states.heard_us[:, feed.socket]
        before = np.zeros(len(heard_us), np.int64)
        before[: len(looked.heard_us)] = looked.heard_us[: len(heard_us)]
        looked.heard_us = heard_us.copy()
        fresh = np.flatnonzero((heard_us > before) & (heard_us >= feed.stats.connected_us))
        keys = stream.consumer.state.normaliser.states.keys
        return [keys[place] for place in fresh.tolist()]

    def _segments_of(self, stream: Stream) -> frozenset[str]:
        looked, keys = self._looked[stream.feed.name], stream.feed.keys
        if keys is not looked.keys:  # `change` makes a new one
            looked.keys, looked.segments = keys, segments_of(keys)
        return looked.segments
