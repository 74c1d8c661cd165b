"""Trading calendar: the state of a segment at a given time. Pure.

The hours of a day come from the first source that has them: the vendor's timings for that day, the
vendor's list of holidays (which includes special sessions such as Muhurat), the built-in NSE table.
The feed's `market_info` frames are more reliable than all three: see `state_of_status`.

    PRE_OPEN ──► OPEN ──► AUCTION ──► CLOSED        shares, since the closing auction was introduced
    PRE_OPEN ──► OPEN ──────────────► CLOSED        everything else

Sources: UPSTOX V3, sections 4 (session times) and 7 (timings, holidays).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import NamedTuple

from ingest.market.time import market_day, moment

SEGMENTS_MAX = 100  # per frame and in memory; the vendor has eleven segments and two more maps of words


SATURDAY = 5
SEARCH_DAYS_MAX = 15  # the longest run of days without a session is shorter than a week
PRE_OPEN = timedelta(minutes=15)
AUCTION = timedelta(minutes=15)  # before the close, when F&O stocks leave continuous trading
AUCTION_SINCE = date(2026, 8, 3)
FUTURES_PRE_OPEN_SINCE = date(2025, 12, 8)

# Segment of an instrument key -> exchange, as the vendor's timings name it.
EXCHANGES = {
    "NSE_EQ": "NSE",
    "NSE_INDEX": "NSE",
    "NSE_FO": "NFO",
    "NCD_FO": "CDS",
    "BSE_EQ": "BSE",
    "BSE_INDEX": "BSE",
    "BSE_FO": "BFO",
    "BCD_FO": "BCD",
    "MCX_FO": "MCX",
    "MCX_INDEX": "MCX",
    "NSE_COM": "MCX",  # not in the vendor's timings; trades in MCX hours
}
# Weekdays on which NSE is closed, as announced by NSE; used when the vendor cannot be reached.
HOLIDAYS = frozenset(
    date(2026, month, day)
    for month, days in {1: (15, 26), 3: (3, 26, 31), 4: (3, 14), 5: (1, 28), 6: (26,), 9: (14,), 10: (2, 20)}.items()
    for day in days
) | {date(2026, 11, 10), date(2026, 11, 24), date(2026, 12, 25)}


class SegmentState(Enum):
    """State of a segment."""

    CLOSED = "closed"
    PRE_OPEN = "pre-open"
    OPEN = "open"
    AUCTION = "closing auction"


class Hours(NamedTuple):
    """Trading hours of an exchange on a day, [opens, closes), aware UTC."""

    opens: datetime
    closes: datetime


class Change(NamedTuple):
    """A change of a segment's state."""

    at: datetime
    state: SegmentState


# Values of the feed's MarketStatus, section 3.
_STATUSES = (
    SegmentState.PRE_OPEN,  # PRE_OPEN_START
    SegmentState.PRE_OPEN,  # PRE_OPEN_END: the auction is over, trading starts at the open
    SegmentState.OPEN,
    SegmentState.CLOSED,
    SegmentState.AUCTION,  # CLOSING_START
    SegmentState.CLOSED,
)


def state_of_status(status: int) -> SegmentState:
    """Return the segment state for a `MarketStatus` of a `market_info` frame; an unknown status counts as open."""
    return _STATUSES[status] if 0 <= status < len(_STATUSES) else SegmentState.OPEN


def usual_hours(exchange: str, day: date) -> Hours | None:
    """Return the built-in hours of an exchange on a day; None on weekends and known holidays."""
    if day.weekday() >= SATURDAY or (day in HOLIDAYS and exchange != "MCX"):
        return None
    match exchange:
        case "CDS" | "BCD":
            opens, closes = time(9), time(17)
        case "MCX":
            opens, closes = time(9), time(23, 55)  # 23:30 in US summer time; being open too long does no harm
        case "NFO" | "BFO":
            opens, closes = time(9, 15), time(15, 40) if day >= AUCTION_SINCE else time(15, 30)
        case _:
            opens, closes = time(9, 15), time(15, 30)
    return Hours(moment(day, opens), moment(day, closes))


@dataclass(frozen=True, slots=True)
class Calendar:
    """Trading hours of all segments.

    Parameters
    ----------
    days
        The vendor's answer for a day: exchange -> hours. An exchange missing from a day has a holiday;
        a missing day has the built-in hours.
    closed
        Exchanges closed by a holiday that says nothing about the other exchanges.
    fetched_at
        When the vendor was last asked; None: never, everything is built in.
    """

    days: Mapping[date, Mapping[str, Hours]] = field(default_factory=dict)
    closed: Mapping[date, frozenset[str]] = field(default_factory=dict)
    fetched_at: datetime | None = None

    def hours(self, segment: str, day: date) -> Hours | None:
        """Return the trading hours of a segment on an Indian day; None if it does not trade."""
        exchange = EXCHANGES.get(segment, "NSE")
        if day in self.days:
            return self.days[day].get(exchange)
        return None if exchange in self.closed.get(day, ()) else usual_hours(exchange, day)

    def changes(self, segment: str, day: date) -> list[Change]:
        """Return the state changes of a segment on a day, in order; before the first it is closed."""
        if (hours := self.hours(segment, day)) is None:
            return []
        exchange = EXCHANGES.get(segment, "NSE")
        found = [Change(hours.opens, SegmentState.OPEN), Change(hours.closes, SegmentState.CLOSED)]
        if exchange in {"NSE", "BSE"} or (exchange in {"NFO", "BFO"} and day >= FUTURES_PRE_OPEN_SINCE):
            found.insert(0, Change(hours.opens - PRE_OPEN, SegmentState.PRE_OPEN))
        usual = usual_hours(exchange, day)
        # A special session is too short for a closing auction, and indices have none.
        if segment == "NSE_EQ" and day >= AUCTION_SINCE and usual and hours.closes >= usual.closes:
            found.insert(-1, Change(hours.closes - AUCTION, SegmentState.AUCTION))
        return found

    def state(self, segment: str, at: datetime) -> SegmentState:
        """Return the state of a segment at an aware time, according to the calendar."""
        state = SegmentState.CLOSED
        for change in self.changes(segment, market_day(at)):
            if change.at <= at:
                state = change.state
        return state

    def next_change(self, segment: str, at: datetime) -> Change | None:
        """Return the first change after a time; None if there is none within two weeks."""
        today = market_day(at)
        for ahead in range(SEARCH_DAYS_MAX):
            for change in self.changes(segment, today + timedelta(days=ahead)):
                if change.at > at:
                    return change
        return None

    def contract_day(self, at: datetime, segment: str = "NSE_FO") -> date:
        """Return the day whose contracts to record: today until the segment's close, then tomorrow.

        So a contract is dropped at the close of its last day, at whatever hour that day closes.
        """
        today = market_day(at)
        hours = self.hours(segment, today)
        return today + timedelta(days=1) if hours and at >= hours.closes else today
