"""Market time: the time zone, the usual opens of sessions, and conversion of a caller's days and times. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ingest.errors import ConfigError

MARKET_ZONE = ZoneInfo("Asia/Kolkata")
# OPENS has the usual start of continuous trading after local midnight, by the segment of the instrument key, for
# currencies and commodities; all others (equities, their derivatives, indices) open at EQUITY_OPEN. The database
# has the same in `tickline.session_open`, and also the days with another open: see `SpecialSession`.
EQUITY_OPEN = timedelta(hours=9, minutes=15)
MARKET_OFFSET = timedelta(hours=5, minutes=30)  # offset of MARKET_ZONE from UTC, all year
OPENS = dict.fromkeys(("NCD_FO", "BCD_FO", "MCX_FO", "MCX_INDEX", "NSE_COM"), timedelta(hours=9))


class SpecialSession(NamedTuple):
    """A session of a segment that opens at an unusual time."""

    segment: str
    day: date  # market-local
    opens_at: datetime


def moment(value: date | datetime | None, name: str) -> datetime | None:
    """Return a caller's time as aware UTC; a date means its local midnight, None stays None.

    Raises
    ------
    ConfigError
        If it has no time zone, or is not a time; the text calls the value `name`.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ConfigError(f"{name} {value.isoformat()!r} has no time zone: add tzinfo, or pass a date")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), MARKET_ZONE).astimezone(UTC)
    raise ConfigError(f"{name} {value!r} is not a time: pass a date, or a datetime with a time zone")


def market_day(at: datetime) -> date:
    """Return the market-local day of an aware time."""
    return at.astimezone(MARKET_ZONE).date()


def day_start(at: datetime) -> datetime:
    """Return the local midnight before an aware time, in UTC."""
    return datetime.combine(market_day(at), time(), MARKET_ZONE).astimezone(UTC)
