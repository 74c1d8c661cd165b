"""Session calendar: which state a segment is in at a time. Pure.

Hours of a day come, in this order, from the vendor's timings of that day, from the vendor's list of
holidays (which holds special sessions too, as Muhurat), and from the built-in table of NSE. The
vendor's `market_info` frames are nearer to the truth than any of them: see `state_of_status`.

    PRE_OPEN ──► OPEN ──► AUCTION ──► CLOSED        shares, since there is a closing auction
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

SEGMENTS_MAX = 100  # names in one frame, and in memory; the vendor names eleven, and gives two lists of words beside


SATURDAY = 5
SEARCH_DAYS_MAX = 15  # the longest run of days without a session is under a week
PRE_OPEN = timedelta(minutes=15)
AUCTION = timedelta(minutes=15)  # before the close, F&O stocks leave continuous trading
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
    "NSE_COM": "MCX",  # not in the vendor's timings; keeps the hours of MCX
}
# Weekdays on which NSE is closed, as it announced them, for when the vendor cannot be asked.
HOLIDAYS = frozenset(
    date(2026, month, day)
    for month, days in {1: (15, 26), 3: (3, 26, 31), 4: (3, 14), 5: (1, 28), 6: (26,), 9: (14,), 10: (2, 20)}.items()
    for day in days
) | {date(2026, 11, 10), date(2026, 11, 24), date(2026, 12, 25)}


class SegmentState(Enum):
    """What a segment does."""

    CLOSED = "closed"
    PRE_OPEN = "pre-open"
    OPEN = "open"
    AUCTION = "closing auction"


class Hours(NamedTuple):
    """Trading of an exchange on a day, [opens, closes), aware UTC."""

    opens: datetime
    closes: datetime


class Change(NamedTuple):
    """A segment takes a state."""

    at: datetime
    state: SegmentState


# Values of the feed's MarketStatus, section 3.
_STATUSES = (
    SegmentState.PRE_OPEN,  # PRE_OPEN_START
    SegmentState.PRE_OPEN,  # PRE_OPEN_END: the auction is over, trading begins at the open
    SegmentState.OPEN,
    SegmentState.CLOSED,
    SegmentState.AUCTION,  # CLOSING_START
    SegmentState.CLOSED,
)


def state_of_status(status: int) -> SegmentState:
    """Return the state that a `MarketStatus` of a `market_info` frame means; an unknown one is taken as open."""
    return _STATUSES[status] if 0 <= status < len(_STATUSES) else SegmentState.OPEN


def usual_hours(exchange: str, day: date) -> Hours | None:
    """Return the built-in hours of an exchange on a day; None on weekends and known holidays."""
    if day.weekday() >= SATURDAY or (day in HOLIDAYS and exchange != "MCX"):
        return None
    match exchange:
        case "CDS" | "BCD":
            opens, closes = time(9), time(17)
        case "MCX":
            opens, closes = time(9), time(23, 55)  # 23:30 in the American summer: open too long does no harm
        case "NFO" | "BFO":
            opens, closes = time(9, 15), time(15, 40) if day >= AUCTION_SINCE else time(15, 30)
        case _:
            opens, closes = time(9, 15), time(15, 30)
    return Hours(moment(day, opens), moment(day, closes))


@dataclass(frozen=True, slots=True)
class Calendar:
    """When segments trade.

    Parameters
    ----------
    days
        What the vendor said of a day: exchange -> hours. A day without an exchange is its holiday;
        a day that is not there has the built-in hours.
    closed
        Exchanges that a holiday closes without saying anything of the others.
    fetched_at
        When the vendor was asked last; None: never, all is built in.
    """

    days: Mapping[date, Mapping[str, Hours]] = field(default_factory=dict)
    closed: Mapping[date, frozenset[str]] = field(default_factory=dict)
    fetched_at: datetime | None = None

    def hours(self, segment: str, day: date) -> Hours | None:
        """Return when a segment trades on an Indian day; None: it does not."""
        exchange = EXCHANGES.get(segment, "NSE")
        if day in self.days:
            return self.days[day].get(exchange)
        return None if exchange in self.closed.get(day, ()) else usual_hours(exchange, day)

    def changes(self, segment: str, day: date) -> list[Change]:
        """Return the states that a segment takes on a day, in order; before the first it is closed."""
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
        """Return the state of a segment, as the calendar has it, at an aware time."""
        state = SegmentState.CLOSED
        for change in self.changes(segment, market_day(at)):
            if change.at <= at:
                state = change.state
        return state

    def next_change(self, segment: str, at: datetime) -> Change | None:
        """Return the first change after a time; None: none within two weeks."""
        today = market_day(at)
        for ahead in range(SEARCH_DAYS_MAX):
            for change in self.changes(segment, today + timedelta(days=ahead)):
                if change.at > at:
                    return change
        return None

    def contract_day(self, at: datetime, segment: str = "NSE_FO") -> date:
        """Return the day whose contracts are wanted: today's until the segment's close, then tomorrow's.

        So a contract is left at the close of its last day, whatever hour that day closes at.
        """
        today = market_day(at)
        hours = self.hours(segment, today)
        return today + timedelta(days=1) if hours and at >= hours.closes else today
