"""The market now: what time the feed has, which segments are open, and how long a closed market sends nothing.

Owns what the feed and the calendar say of the present moment; all connections share it. Must not know connections.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from ingest.market.calendar import Calendar, SegmentState
from ingest.market.segment_states import SegmentStates
from ingest.market.time import utc_of_ms
from ingest.time_source import TimeSource

log = logging.getLogger(__name__)

LEAD = timedelta(minutes=5)  # before a market speaks we are connected again


def segments_of(keys: Iterable[str]) -> frozenset[str]:
    """Return the segments of instrument keys.

    Examples
    --------
    >>> segments_of(["NSE_FO|53001", "NSE_FO|53002"])
    frozenset({'NSE_FO'})
    """
    return frozenset(key.partition("|")[0] for key in keys)


class MarketNow:
    """What the market does now, as far as is known.

    Parameters
    ----------
    calendar
        Returns the sessions as they are known now.
    time_source
        The time source.
    closed_retry_s
        How long a closed market lets a connection alone at most, seconds.
    """

    def __init__(self, calendar: Callable[[], Calendar], time_source: TimeSource, *, closed_retry_s: float) -> None:
        self.time_source = time_source
        self.segments = SegmentStates(calendar())
        self._calendar = calendar
        self._closed_retry_s = closed_retry_s
        self._ahead_ms: int | None = None  # of our clock, is the feed's; None: not heard yet

    def time(self) -> datetime | None:
        """Return the feed's time now; None before it has been heard."""
        if self._ahead_ms is None:
            return None
        return utc_of_ms(self.time_source.now_us() / 1000 + self._ahead_ms)

    def open_of(self, segments: Iterable[str]) -> set[str]:
        """Return which of the segments trade now, as far as is known."""
        at = self.time()
        return {one for one in segments if at is not None and self.segments.state(one, at) is SegmentState.OPEN}

    def pause_s(self, keys: Iterable[str]) -> float:
        """Return how long a closed market sends nothing for keys, seconds; 0: data may come."""
        segments, at = segments_of(keys), self.time()
        if at is None or self.segments.may_speak(segments, at):
            return 0.0
        speaks = self.segments.speaks_next(segments, at)
        left_s = (speaks - LEAD - at).total_seconds() if speaks else float("inf")
        return min(max(left_s, 0.0), self._closed_retry_s)

    def look(self, last_ms: int, received_ms: int) -> None:
        """Take the newest calendar, and the time of the newest frame with our clock at its receipt; 0: none came."""
        if last_ms:
            self._ahead_ms = last_ms - received_ms
        self.segments.calendar = self._calendar()

    def hear(self, status: Mapping[str, int], at_ms: int) -> None:
        """Take what a `market_info` frame says: segment -> `MarketStatus`, and the frame's time, epoch ms."""
        at = utc_of_ms(at_ms)
        for segment in self.segments.hear(status, at):
            log.debug("segment %s is %s", segment, self.segments.state(segment, at).value)
