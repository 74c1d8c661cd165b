"""Indian market time: constants and conversions, each defined once. Pure.

IST is UTC+05:30 all year. The feed counts milliseconds since the epoch, rows count microseconds.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A currentTs outside these limits is not a time of this market (2010 to 2100).
CURRENT_MS_MIN = 1_262_304_000_000
CURRENT_MS_MAX = 4_102_444_800_000
MINUTE_MS, MINUTE_US = 60_000, 60_000_000
DAY_MS, DAY_US = 86_400_000, 86_400_000_000
# India has one zone, no summer time. IST_OFFSET_MS is for epoch milliseconds (numbers, arrays), IST for datetimes.
IST_OFFSET_MS = 19_800_000
IST = timedelta(milliseconds=IST_OFFSET_MS)


def utc_of_us(epoch_us: float) -> datetime:
    """Return epoch microseconds as aware UTC."""
    return datetime.fromtimestamp(epoch_us / 1e6, UTC)


def utc_of_ms(epoch_ms: float) -> datetime:
    """Return epoch milliseconds as aware UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


@overload
def day_number(epoch_ms: int) -> int: ...
@overload
def day_number(epoch_ms: NDArray[Any]) -> NDArray[Any]: ...
def day_number(epoch_ms: Any) -> Any:
    """Return the number of the Indian day of epoch milliseconds, of one or of an array: day 0 is 1 January 1970.

    >>> day_number(1_765_737_000_000 - 1), day_number(1_765_737_000_000)  # 15 December 2025 begins
    (20436, 20437)
    """
    return (epoch_ms + IST_OFFSET_MS) // DAY_MS


@overload
def day_start_ms(number: int) -> int: ...
@overload
def day_start_ms(number: NDArray[Any]) -> NDArray[Any]: ...
def day_start_ms(number: Any) -> Any:
    """Return the midnight at which an Indian day begins, epoch milliseconds, of one day or of an array.

    >>> day_start_ms(20437)
    1765737000000
    """
    return number * DAY_MS - IST_OFFSET_MS


def market_day(at: datetime) -> date:
    """Return the Indian day of an aware time."""
    return (at.astimezone(UTC) + IST).date()


def day_span(day: date) -> tuple[datetime, datetime]:
    """Return an Indian day as a half-open range of aware UTC."""
    start = moment(day, time())
    return start, start + timedelta(days=1)


def moment(day: date, at: time) -> datetime:
    """Return a time of an Indian day as aware UTC."""
    return datetime.combine(day, at, UTC) - IST
