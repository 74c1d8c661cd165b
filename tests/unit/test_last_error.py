"""An error that a status shows lasts until its part works, and says so afterwards."""

from __future__ import annotations

from ingest.cli.operate.status_text import as_text
from ingest.last_error import TEXT_CHARS_MAX, LastErrors
from ingest.time_source import TimeSource


class Turned(TimeSource):
    """A clock that somebody turns."""

    at_us = 1_764_560_000_000_000

    def now_us(self) -> int:
        return self.at_us


def test_error_lasts_until_its_part_works_and_stays_as_the_last_one() -> None:
    clock = Turned()
    errors = LastErrors(clock)
    assert errors.of("bars").account() is None and not errors.lasting()
    errors.of("bars").over()  # never wrong
    errors.of("backfill").happened("refused: password=hunter2 " + "x" * 1000)
    (text,) = errors.lasting().values()
    assert "hunter2" not in text and len(text) == TEXT_CHARS_MAX
    errors.of("backfill").happened(ValueError("again"))
    clock.at_us += 60_000_000
    errors.of("backfill").over()
    found = {
        "state": "over",
        "text": "again",
        "at": "2025-12-01T03:33:20+00:00",
        "over_at": "2025-12-01T03:34:20+00:00",
        "count": 2,
    }
    clock.at_us += 60_000_000
    errors.of("backfill").over()
    assert errors.account() == {"backfill": found} and not errors.lasting()
    (line,) = as_text("status", {"errors": errors.account()}).splitlines()
    assert line == "error backfill: 'again' (2025-12-01 09:03:20 IST, over since 2025-12-01 09:04:20 IST; 2 in all)"
    errors.of("backfill").happened("once more")
    assert errors.account()["backfill"] == found | {
        "state": "now",
        "text": "once more",
        "at": "2025-12-01T03:35:20+00:00",
        "over_at": None,
        "count": 3,
    }
    line = as_text("status", {"connections": [{"name": "1", "last_error": errors.of("backfill").account()}]})
    assert line == "connection 1: last_error 'once more' (2025-12-01 09:05:20 IST, lasts; 3 in all)"
