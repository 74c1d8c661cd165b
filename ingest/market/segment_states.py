"""Segments: what each is doing now, by the feed's own word where it holds, else by the calendar. Pure.

`market_info` frames are nearer to the truth than any calendar, but they come when the connection
opens and at changes only. A word of this afternoon, heard by a connection that then died, says
nothing of the evening. So what the feed said of a segment holds until the calendar expects that
segment's next change; a feed that repeats itself later is believed anew, as on a day on which the
exchange trades longer than planned. What it says of a time at which the calendar has the segment closed
holds for two hours at most: the next change may be tomorrow's, and who missed the last word of the day
would wait for data all night.

All times are the feed's (`currentTs`), aware UTC: hosts are seconds off, and a simulator plays
another day. The time between two frames is to be added by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from ingest.market.calendar import SEGMENTS_MAX, Calendar, SegmentState, state_of_status

# The exchange's post-close session ends half an hour after the cash market's close (16:00); the recorded
# session of 15 Dec 2025 has trades of shares 14 minutes and of options 2 minutes after theirs.
LINGER = timedelta(minutes=30)
UNPLANNED = timedelta(hours=2)


class SegmentStates:
    """The states of segments, kept by whoever reads the feed."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self._heard: dict[str, tuple[SegmentState, datetime | None]] = {}  # state, until when that holds
        self._closed_at: dict[str, datetime] = {}  # when the feed said so, of what was not closed until then

    def hear(self, statuses: Mapping[str, int], at: datetime) -> list[str]:
        """Take the `segmentStatus` of a `market_info` frame; return the segments whose state it changes.

        Parameters
        ----------
        statuses
            Segment -> `MarketStatus`, as `Frames.segment_status` has it.
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
        """Return what a segment is doing."""
        state, until = self._heard.get(segment, (None, None))
        if state is None or (until is not None and at >= until):
            return self.calendar.state(segment, at)
        return state

    def may_speak(self, segments: Iterable[str], at: datetime) -> bool:
        """Whether data of any of some segments may come: they are not closed, or closed within `LINGER`.

        Silence is a fault only of a segment that is OPEN: in an auction most shares are silent.
        """
        return any(
            self.state(segment, at) is not SegmentState.CLOSED
            or self.calendar.state(segment, at - LINGER) is not SegmentState.CLOSED
            or (segment in self._closed_at and at - self._closed_at[segment] < LINGER)
            for segment in segments
        )

    def speaks_next(self, segments: Iterable[str], at: datetime) -> datetime | None:
        """Return when the first of some segments leaves CLOSED next, by the calendar; None: not within two weeks."""
        starts = []
        for segment in segments:
            before, change = self.calendar.state(segment, at), self.calendar.next_change(segment, at)
            while change is not None and before is not SegmentState.CLOSED:
                before, change = change.state, self.calendar.next_change(segment, change.at)
            if change is not None:
                starts.append(change.at)
        return min(starts, default=None)
