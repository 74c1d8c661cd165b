"""What segments are doing: the feed's word, as long as it holds, and the calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.market.calendar import EXCHANGES, Calendar, SegmentState
from ingest.market.segment_states import LINGER, SegmentStates
from ingest.market.time import moment

CLOSED, PRE, OPEN, AUCTION = SegmentState.CLOSED, SegmentState.PRE_OPEN, SegmentState.OPEN, SegmentState.AUCTION
PRE_OPEN_END, NORMAL_OPEN, NORMAL_CLOSE, CLOSING_END = 1, 2, 3, 5
STATUS = {CLOSED: NORMAL_CLOSE, PRE: PRE_OPEN_END, OPEN: NORMAL_OPEN, AUCTION: 4}
FRIDAY, MONDAY = date(2026, 11, 20), date(2026, 11, 23)


def at(clock: str, day: date = FRIDAY) -> datetime:
    return moment(day, time.fromisoformat(clock))


@pytest.fixture
def segments() -> SegmentStates:
    return SegmentStates(Calendar())


def test_state_unheard_segment_is_the_calendars(segments: SegmentStates) -> None:
    assert segments.state("NSE_FO", at("15:39")) is OPEN
    assert segments.state("NSE_FO", at("15:40")) is CLOSED


def test_state_word_of_the_feed_wins_until_the_next_change_that_is_planned(segments: SegmentStates) -> None:
    assert segments.hear({"NSE_FO": NORMAL_CLOSE}, at("10:00")) == ["NSE_FO"]  # trading is halted
    assert segments.state("NSE_FO", at("15:39:59")) is CLOSED
    assert segments.state("NSE_EQ", at("10:01")) is OPEN  # nothing was said of it
    assert segments.hear({"NSE_FO": NORMAL_OPEN}, at("11:00")) == ["NSE_FO"]
    assert segments.hear({"NSE_FO": NORMAL_OPEN}, at("11:01")) == []
    assert segments.state("NSE_FO", at("15:39:59")) is OPEN


def test_state_word_of_a_connection_that_died_does_not_outlive_the_session(segments: SegmentStates) -> None:
    segments.hear({"NSE_FO": NORMAL_OPEN}, at("15:00"))
    assert segments.state("NSE_FO", at("20:00")) is CLOSED
    assert not segments.may_speak(["NSE_FO"], at("20:00"))


def test_state_feed_that_goes_on_past_the_planned_close_is_believed(segments: SegmentStates) -> None:
    segments.hear({"NSE_FO": NORMAL_OPEN}, at("15:41"))
    assert segments.state("NSE_FO", at("16:30")) is OPEN
    assert segments.hear({"NSE_FO": NORMAL_CLOSE}, at("17:00")) == ["NSE_FO"]
    assert segments.state("NSE_FO", at("17:00")) is CLOSED
    assert segments.may_speak(["NSE_FO"], at("17:00") + LINGER - timedelta(seconds=1))
    assert not segments.may_speak(["NSE_FO"], at("17:00") + LINGER)
    assert segments.state("NSE_FO", at("09:20", MONDAY)) is OPEN


@pytest.mark.parametrize(
    ("segment", "clock", "may"),
    [
        ("NSE_EQ", "08:59:59", False),
        ("NSE_EQ", "09:00", True),
        ("NSE_EQ", "15:45", True),  # the recorded session has trades of shares until 15:44
        ("NSE_EQ", "16:00", False),
        ("NSE_FO", "16:09:59", True),
        ("NSE_FO", "16:10", False),
    ],
)
def test_may_speak_begins_with_the_pre_open_and_lingers_after_the_close(
    segments: SegmentStates, segment: str, clock: str, may: bool
) -> None:
    assert segments.may_speak([segment], at(clock)) is may


def test_may_speak_a_word_of_the_night_does_not_start_the_lingering(segments: SegmentStates) -> None:
    segments.hear({"NSE_FO": NORMAL_CLOSE, "NSE_EQ": CLOSING_END}, at("20:00"))
    assert not segments.may_speak(["NSE_FO", "NSE_EQ"], at("20:00"))
    segments.hear({"NSE_FO": NORMAL_OPEN}, at("21:00"))
    assert segments.may_speak(["NSE_EQ", "NSE_FO"], at("21:00"))


def test_speaks_next_is_the_first_start_of_any_past_weekend_and_holiday(segments: SegmentStates) -> None:
    assert segments.speaks_next(["NSE_EQ"], at("12:00")) == at("09:00", MONDAY)  # not the auction of today
    assert segments.speaks_next(["NSE_FO", "NCD_FO"], at("15:50")) == at("09:00", MONDAY)
    assert segments.speaks_next(["NSE_FO", "NSE_EQ"], at("08:00")) == at("09:00")
    assert segments.speaks_next(["NSE_FO"], at("12:00", MONDAY)) == at("09:00", date(2026, 11, 25))
    assert segments.speaks_next([], at("12:00")) is None


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),
    st.sampled_from([*EXCHANGES]),
    st.lists(st.integers(1, 3000), max_size=20),
)
def test_state_feed_that_follows_the_calendar_changes_nothing(start: datetime, segment: str, steps: list[int]) -> None:
    segments, now = SegmentStates(Calendar()), start
    for minutes in steps:
        assert segments.hear({segment: STATUS[segments.calendar.state(segment, now)]}, now) == []
        now += timedelta(minutes=minutes)
        assert segments.state(segment, now) is segments.calendar.state(segment, now)


def test_state_word_that_outlasts_the_planned_day_does_not_hold_all_night(segments: SegmentStates) -> None:
    segments.hear({"NSE_EQ": 4}, at("15:45"))  # the closing session, and then the connection dies
    assert segments.state("NSE_EQ", at("15:59")) is AUCTION
    assert segments.may_speak(["NSE_EQ"], at("17:44"))
    assert not segments.may_speak(["NSE_EQ"], at("17:46"))
    segments.hear({"NSE_EQ": NORMAL_OPEN}, at("18:00"))  # a session that no calendar knows
    assert segments.state("NSE_EQ", at("19:59")) is OPEN
