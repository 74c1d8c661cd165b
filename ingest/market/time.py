"""Indian market time: constants and conversions, each defined once. Pure.

IST is UTC+05:30 all year. The feed counts milliseconds since the epoch, rows count microseconds.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

# A currentTs outside these limits is not a time of this market (2010 to 2100).
CURRENT_MS_MIN = 1_262_304_000_000
CURRENT_MS_MAX = 4_102_444_800_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
IST_OFFSET_MS = 19_800_000  # India has one zone, UTC+05:30, and no summer time
IST = timedelta(hours=5, minutes=30)  # India has one zone and no summer time


def utc_of_us(epoch_us: float) -> datetime:
    """Return epoch microseconds as aware UTC."""
    return datetime.fromtimestamp(epoch_us / 1e6, UTC)


def market_day(at: datetime) -> date:
    """Return the Indian day of an aware time."""
    return (at.astimezone(UTC) + IST).date()


def moment(day: date, at: time) -> datetime:
    """Return a time of an Indian day as aware UTC."""
    return datetime.combine(day, at, UTC) - IST
