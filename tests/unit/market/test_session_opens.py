"""When sessions open, by the word of the feed and by the calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from ingest.market.session_opens import Opens, SessionOpen, opens_of
from ingest.upstox.answers import calendar_of

PRE_OPEN_START, PRE_OPEN_END, NORMAL_OPEN = 0, 1, 2
SUNDAY, FRIDAY = date(2026, 11, 8), date(2026, 11, 27)


def at(day: date, clock: str) -> datetime:
    return datetime.fromisoformat(f"{day} {clock}+05:30").astimezone(UTC)


def heard(opens: Opens, day: date, *words: tuple[str, int]) -> list[str]:
    """When the session opens by each of these words; "" where one says nothing."""
    found = []
    for clock, status in words:
        said = opens.hear({"NSE_EQ": status}, at(day, clock))
        assert [one[:2] for one in said] in ([], [("NSE_EQ", day)])
        found.append(f"{said[0].opens_at:%H:%M}" if said else "")
    return found


@pytest.mark.parametrize(
    ("day", "words", "expected"),
    [
        (SUNDAY, [("17:45:58", PRE_OPEN_START)], ["12:30"]),
        (
            SUNDAY,
            [("17:53:00", PRE_OPEN_END), ("18:00:00.3", PRE_OPEN_END), ("18:00:01", NORMAL_OPEN)],
            ["12:30", "", ""],
        ),
        (SUNDAY, [("17:45:58", PRE_OPEN_START), ("18:05:00", PRE_OPEN_START)], ["12:30", "12:45"]),  # put off
        (SUNDAY, [("18:10:00", NORMAL_OPEN), ("19:10:00", PRE_OPEN_START)], ["", ""]),  # it has opened
        (FRIDAY, [("09:00:58", PRE_OPEN_START), ("09:15:00.3", PRE_OPEN_END)], ["", ""]),  # the usual one
        (FRIDAY, [("22:00:00", PRE_OPEN_START)], [""]),
        (date(2025, 10, 21), [("13:30:02", PRE_OPEN_START)], ["08:15"]),  # Muhurat of a year that is not built in
    ],
)
def test_pre_open_says_when_the_session_opens(day: date, words: list[tuple[str, int]], expected: list[str]) -> None:
    assert heard(Opens(), day, *words) == expected
    opens, found = Opens(), []
    for word in words:
        found += heard(opens, day, word)
        opens = Opens(opens.dump())
    assert found == expected


def test_calendar_of_the_vendor_names_opens() -> None:
    open_at, close_at = (int(at(SUNDAY, clock).timestamp() * 1000) for clock in ("18:00", "19:00"))
    calendar = calendar_of(
        [
            {
                "date": "2026-11-08",
                "holiday_type": "SPECIAL_TIMING",
                "open_exchanges": [{"exchange": "NSE", "start_time": open_at, "end_time": close_at}],
            }
        ],
        {},
    )
    assert opens_of(calendar) == [
        SessionOpen(segment, SUNDAY, at(SUNDAY, "18:00")) for segment in ("NSE_EQ", "NSE_INDEX")
    ]
