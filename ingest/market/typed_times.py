"""Days and times as people type them: `2025-12-15`, `2025-12-15 09:15`, `today`, `yesterday`, `-2d`, `-3h`. Pure.

Whoever reads an option or an argument with a time uses this module, so that all commands take the same.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from ingest.market.shown_time import INDIA

DAYS_BACK = {"today": 0, "yesterday": 1}
BACK = re.compile(r"-(\d{1,4})d")
AGO = re.compile(r"-(\d{1,5})(h|m|s)")
UNITS = {"h": "hours", "m": "minutes", "s": "seconds"}
DAY_REMEDY = "write '2025-12-15', 'today', 'yesterday' or '-2d'"
MOMENT_REMEDY = "write '2025-12-15', '2025-12-15 09:15' (IST), 'today', 'yesterday 09:15', '-2d' or '-3h'"


def parse_day(text: str, today: date) -> date:
    """Return the day that a text means.

    Raises
    ------
    ValueError
        If the text is no day.

    Examples
    --------
    >>> [parse_day(text, date(2025, 12, 15)).isoformat() for text in ("2025-12-12", "Today", "yesterday", "-3d")]
    ['2025-12-12', '2025-12-15', '2025-12-14', '2025-12-12']
    """
    word = text.strip().lower()
    try:
        if word in DAYS_BACK:
            return today - timedelta(days=DAYS_BACK[word])
        if match := BACK.fullmatch(word):
            return today - timedelta(days=int(match[1]))
        if re.fullmatch(r"\d{4}-\d\d-\d\d", word):
            return date.fromisoformat(word)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text!r} is not a day: {DAY_REMEDY}")


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the time that a text means, aware UTC; without an offset it is Indian time, and a day means its midnight.

    Raises
    ------
    ValueError
        If the text is no time.

    Examples
    --------
    >>> now = datetime(2025, 12, 15, 6, 0, tzinfo=UTC)
    >>> [parse_moment(text, now).isoformat()[8:16] for text in ("2025-12-15 09:15", "yesterday 09:15", "-2d", "-3h")]
    ['15T03:45', '14T03:45', '12T18:30', '15T03:00']
    """
    word = text.strip().lower()
    try:
        if word == "now":
            return now
        if match := AGO.fullmatch(word):
            return now - timedelta(**{UNITS[match[2]]: int(match[1])})
        first, _, clock = word.partition(" ")
        if first in DAYS_BACK or BACK.fullmatch(first):
            day = parse_day(first, now.astimezone(INDIA).date())
            at = time.fromisoformat(clock.strip()) if clock else time()
            return datetime.combine(day, at, at.tzinfo or INDIA).astimezone(UTC)
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=INDIA)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"time {text!r} is not understood: {MOMENT_REMEDY}") from exc
