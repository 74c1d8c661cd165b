"""Session opens: when sessions begin, according to the feed and to the vendor's calendar. Pure.

The database knows the usual hours (`tickline.session_open`). The opens found here are sent to it, and it stores
those that differ: a session on a Sunday evening has its own auction and open.

A pre-open session lasts a quarter of an hour by the clock, and `market_info` frames say that it is on; so the
session opens at the next quarter. On a day with usual hours the usual hours count, unless the feed reports a
pre-open long after them, as on the evening of a holiday that the calendar does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from ingest.market.calendar import EXCHANGES, SEGMENTS_MAX, Calendar, SegmentState, state_of_status, usual_hours
from ingest.market.time import market_day

QUARTER = timedelta(minutes=15)
LATE_WORD = timedelta(minutes=1)  # a status may be repeated for seconds after it has changed
NOT_USUAL = timedelta(hours=1)  # after the usual open: a pre-open that late belongs to another session


class SessionOpen(NamedTuple):
    """When the session of a segment opens."""

    segment: str
    day: date  # market-local
    opens_at: datetime


class Opens:
    """What the feed has said about today's sessions.

    Parameters
    ----------
    dumped
        State of an earlier instance, as returned by `dump`.
    """

    def __init__(self, dumped: Mapping[str, Sequence[str]] | None = None) -> None:
        # Segment -> the day the feed last spoke of, and when its session opens; "": it has opened at the usual time.
        self._heard: dict[str, tuple[str, str]] = {key: (day, at) for key, (day, at) in (dumped or {}).items()}

    def hear(self, statuses: Mapping[str, int], at: datetime) -> list[SessionOpen]:
        """Take the `segmentStatus` of a `market_info` frame; return the opens that follow from it.

        Parameters
        ----------
        statuses
            Segment -> `MarketStatus`, as in `Frames.segment_status`.
        at
            The frame's time, aware UTC.
        """
        found, day = [], market_day(at)
        for segment, status in statuses.items():
            if segment not in self._heard and len(self._heard) >= SEGMENTS_MAX:
                continue
            heard, opens = self._heard.get(segment, ("", ""))
            is_known = heard == day.isoformat()
            match state_of_status(status):
                case SegmentState.OPEN if not is_known:
                    self._heard[segment] = (day.isoformat(), "")
                case SegmentState.PRE_OPEN if not is_known or (
                    opens and at >= datetime.fromisoformat(opens) + LATE_WORD
                ):
                    opens_at = at - timedelta(seconds=at.timestamp() % QUARTER.total_seconds()) + QUARTER
                    if _may_open(segment, day, at):
                        self._heard[segment] = (day.isoformat(), opens_at.isoformat())
                        found.append(SessionOpen(segment, day, opens_at))
        return found

    def dump(self) -> dict[str, tuple[str, str]]:
        """Return plain values for the checkpoint."""
        return dict(self._heard)


def _may_open(segment: str, day: date, at: datetime) -> bool:
    """Return whether a pre-open at this time is believed."""
    hours = usual_hours(EXCHANGES.get(segment, "NSE"), day)
    return hours is None or hours.opens + NOT_USUAL <= at < hours.closes


def opens_of(calendar: Calendar) -> list[SessionOpen]:
    """Return the opens of the days for which the vendor has given hours."""
    return [
        SessionOpen(segment, day, hours.opens)
        for day in calendar.days
        for segment in EXCHANGES
        if (hours := calendar.hours(segment, day)) is not None
    ]
