"""Days and times as people type them."""

from __future__ import annotations

import doctest
from datetime import UTC, date, datetime

import pytest

from ingest.market import typed_times
from ingest.market.typed_times import parse_day, parse_moment

NOW = datetime(2025, 12, 15, 20, 0, tzinfo=UTC)  # 01:30 on the 16th in India


def test_examples() -> None:
    assert doctest.testmod(typed_times).failed == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", "2025-12-15T18:30"),
        (" Yesterday ", "2025-12-14T18:30"),
        ("-0d", "2025-12-15T18:30"),
        ("-2d", "2025-12-13T18:30"),
        ("-2d 09:15", "2025-12-14T03:45"),
        ("today 09:15+00:00", "2025-12-16T09:15"),
        ("now", "2025-12-15T20:00"),
        ("-90m", "2025-12-15T18:30"),
        ("-3h", "2025-12-15T17:00"),
        ("-30s", "2025-12-15T19:59:30"),
        ("2025-12-15", "2025-12-14T18:30"),
        ("2025-12-15T04:02Z", "2025-12-15T04:02"),
        ("20251215", "2025-12-14T18:30"),
    ],
)
def test_moment(text: str, expected: str) -> None:
    assert parse_moment(text, NOW) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


WRONG = ["", "tomorrow", "2d", "-2w", "-2d 25:00", "today noon", "15-12-2025", "-9999d 9", "--2d"]


@pytest.mark.parametrize("text", WRONG)
def test_text_that_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="is not understood: write '2025-12-15'"):
        parse_moment(text, NOW)


@pytest.mark.parametrize("text", ["", "2025-02-30", "2025-12-15 09:15", "tomorrow", "-3h", "20251215", "-9999999d"])
def test_text_that_is_no_day_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="is not a day: write '2025-12-15'"):
        parse_day(text, date(2025, 12, 15))
