"""Current state of each segment: from the feed while its word is valid, otherwise from the calendar. Pure.

`market_info` frames are more reliable than any calendar, but they come only when a connection opens
and when a state changes. What a connection heard in the afternoon before it died says nothing about
the evening. So a state from the feed is valid until the calendar expects that segment's next change.
If the feed repeats the state later, it is valid again, for example when the exchange trades longer
than planned. A state other than closed, at a time when the calendar has the segment closed, is valid
for two hours at most: the next change may be tomorrow, and a collector that missed the last message
of the day would wait for data all night.

All times are the feed's (`currentTs`), aware UTC: host clocks are seconds off, and a simulator plays
another day. The caller adds the time that has passed since the last frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from ingest.market.calendar import SEGMENTS_MAX, Calendar, SegmentState, state_of_status

# The exchange's post-close session ends half an hour after the cash market's close (16:00). In the recorded
# session of 15 Dec 2025 shares traded until 14 minutes, options until 2 minutes after their close.
LINGER = timedelta(minutes=30)
UNPLANNED = timedelta(hours=2)


class SegmentStates:
    """The states of segments; owned by the reader of the feed."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self._heard: dict[str, tuple[SegmentState, datetime | None]] = {}  # state, valid until
        self._closed_at: dict[str, datetime] = {}  # when the feed reported a close of a segment that was not closed

    def hear(self, statuses: Mapping[str, int], at: datetime) -> list[str]:
        """Take the `segmentStatus` of a `market_info` frame; return the segments whose state it changes.

        Parameters
        ----------
        statuses
            Segment -> `MarketStatus`, as in `Frames.segment_status`.
        at
            The frame's time.
        """
        changed = []
        for segment, status in statuses.items():
            if segment not in self._heard and len(self._heard) >= SEGMENTS_MAX:
                continue
            state = state_of_status(status)
            if state is not self.state(segment, at):
                changed.append(segment)
                if state is SegmentState.CLOSED:
                    self._closed_at[segment] = at
            change = self.calendar.next_change(segment, at)
            until = change.at if change else None
            if state is not SegmentState.CLOSED and self.calendar.state(segment, at) is SegmentState.CLOSED:
                until = min(until or at + UNPLANNED, at + UNPLANNED)
            self._heard[segment] = (state, until)
        return changed

    def state(self, segment: str, at: datetime) -> SegmentState:
        """Return the current state of a segment."""
        state, until = self._heard.get(segment, (None, None))
        if state is None or (until is not None and at >= until):
            return self.calendar.state(segment, at)
        return state

    def may_speak(self, segments: Iterable[str], at: datetime) -> bool:
        """Return whether data may come for any of the segments: it is not closed, or closed less than `LINGER` ago.

        Silence is a fault only of a segment that is OPEN: in an auction most shares are silent.
        """
        return any(
            self.state(segment, at) is not SegmentState.CLOSED
            or self.calendar.state(segment, at - LINGER) is not SegmentState.CLOSED
            or (segment in self._closed_at and at - self._closed_at[segment] < LINGER)
            for segment in segments
        )

    def speaks_next(self, segments: Iterable[str], at: datetime) -> datetime | None:
        """Return when the first of the segments leaves CLOSED, by the calendar; None: not within two weeks."""
        starts = []
        for segment in segments:
            before, change = self.calendar.state(segment, at), self.calendar.next_change(segment, at)
            while change is not None and before is not SegmentState.CLOSED:
                before, change = change.state, self.calendar.next_change(segment, change.at)
            if change is not None:
                starts.append(change.at)
        return min(starts, default=None)
