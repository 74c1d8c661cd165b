"""Session calendar: which state a segment is in at a time. Pure.

Hours of a day come, in this order, from the vendor's timings of that day, from the vendor's list of
holidays (which holds special sessions too, as Muhurat), and from the built-in table of NSE. The
vendor's `market_info` frames are nearer to the truth than any of them: see `state_of_status`.

    PRE_OPEN ──► OPEN ──► AUCTION ──► CLOSED        shares, since there is a closing auction
    PRE_OPEN ──► OPEN ──────────────► CLOSED        everything else

Sources: UPSTOX V3, sections 4 (session times) and 7 (timings, holidays).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Any, NamedTuple

from ingest.foreign import each

IST = timedelta(hours=5, minutes=30)  # India has one zone and no summer time
SATURDAY = 5
YEAR_MIN, YEAR_MAX = 1990, 2100  # the electronic market's first years, and further than any calendar says
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


def market_day(at: datetime) -> date:
    """Return the Indian day of an aware time."""
    return (at.astimezone(UTC) + IST).date()


def moment(day: date, at: time) -> datetime:
    """Return an Indian time of a day as aware UTC."""
    return datetime.combine(day, at, UTC) - IST


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


def calendar_of(
    holidays: Sequence[Mapping[str, Any]],
    timings: Mapping[str, Sequence[Mapping[str, Any]]],
    fetched_at: datetime | None = None,
) -> Calendar:
    """Build a calendar from the vendor's answers.

    Parameters
    ----------
    holidays
        Rows of `/v2/market/holidays`: date, holiday_type, closed_exchanges, open_exchanges.
    timings
        Day as YYYY-MM-DD -> rows of `/v2/market/timings/{day}`: exchange, start_time, end_time (epoch ms).
    fetched_at
        When they were fetched.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If the answers are not of that form. An odd row costs itself only.
    """
    days: dict[date, Mapping[str, Hours]] = {}
    closed: dict[date, frozenset[str]] = {}

    def note(row: Mapping[str, Any]) -> None:
        day = date.fromisoformat(row["date"])
        if row.get("holiday_type") == "SETTLEMENT_HOLIDAY":  # banks are closed, the exchange is not
            return
        if opened := row.get("open_exchanges"):
            days[day] = _hours_of(opened)
        else:
            closed[day] = frozenset(row.get("closed_exchanges") or ())

    each(holidays, note)
    for text, rows in timings.items():
        if rows:  # none says a holiday, or nothing at all: the list of holidays and the weekday decide
            days[date.fromisoformat(text)] = _hours_of(rows)
    return Calendar(days, closed, fetched_at)


def _hours_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Hours]:
    return dict(each(rows, _exchange_hours)[0])


def _exchange_hours(row: Mapping[str, Any]) -> tuple[str, Hours]:
    opens, closes = (datetime.fromtimestamp(row[name] / 1000, UTC) for name in ("start_time", "end_time"))
    if opens.year < YEAR_MIN or closes.year > YEAR_MAX:
        raise ValueError("no time of a market")
    return str(row["exchange"]), Hours(opens, closes)
