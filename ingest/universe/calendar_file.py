"""The vendor's calendar on disk: fetched now and then, used whatever its age.

Owns the file `calendar.json` under TICKLINE_HOME: the vendor's answers as received, with time and source, so that
a simulator's calendar is not used for the real market.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.errors import FeedError
from ingest.files import replace_file
from ingest.market.calendar import Calendar
from ingest.market.time import market_day
from ingest.upstox.answers import calendar_of
from ingest.upstox.rest import UpstoxApi

log = logging.getLogger(__name__)

FILE = "calendar.json"
TIMINGS_DAYS = 4  # today and the days up to the next session, across a weekend


def load_calendar(home: Path, source: str) -> Calendar:
    """Return the calendar last fetched from a REST base; the built-in one if there is no readable file."""
    path = home / FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["source"] != source:
            return Calendar()
        fetched_at = datetime.fromisoformat(stored["fetched_at"])
        return calendar_of(stored["holidays"], stored["timings"], fetched_at)
    except FileNotFoundError:
        return Calendar()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        log.warning("calendar not read, the built-in one is used path=%s error=%r", path, exc)
        return Calendar()


async def refresh_calendar(api: UpstoxApi, home: Path, source: str, now: datetime) -> Calendar:
    """Fetch holidays and the timings of the next days; store and return them.

    Raises
    ------
    FeedError
        If the vendor does not answer, or not as documented; the stored calendar is kept.
    """
    holidays = await api.market_holidays()
    days = [market_day(now) + timedelta(days=ahead) for ahead in range(TIMINGS_DAYS)]
    timings = {day.isoformat(): await api.market_timings(day) for day in days}
    fetched_at = now.astimezone(UTC)
    try:
        calendar = calendar_of(holidays, timings, fetched_at)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise FeedError(f"market calendar of the vendor is not understood: {exc}: the last good one is kept") from exc
    stored = {"source": source, "fetched_at": fetched_at.isoformat(), "holidays": holidays, "timings": timings}
    try:
        await asyncio.to_thread(_store, home, json.dumps(stored))
    except OSError as exc:  # it is used now, and fetched again at the next start
        log.warning("calendar not stored path=%s error=%s", home / FILE, exc)
    return calendar


def _store(home: Path, text: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    replace_file(home / FILE, text.encode())
