"""When the evening job is due: after the last session of what is recorded, and not before the next one."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pytest

from ingest.live.evening import commands, due_day
from ingest.market.calendar import Calendar, Hours
from ingest.market.segment_states import SegmentStates
from ingest.market.time import moment
from ingest.settings import settings

FRIDAY = date(2026, 11, 27)  # a usual day; Monday follows
MUHURAT = Calendar({FRIDAY: {"NSE": Hours(moment(FRIDAY, time(18, 15)), moment(FRIDAY, time(19, 15)))}})


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return moment(day, time(hour, minute))


@pytest.mark.parametrize(
    ("segments", "when", "due"),
    [
        ({"NSE_EQ"}, at(FRIDAY, 8, 30), None),  # the pre-open is near
        ({"NSE_EQ"}, at(FRIDAY, 12), None),
        ({"NSE_EQ"}, at(FRIDAY, 15, 45), None),  # just closed
        ({"NSE_EQ"}, at(FRIDAY, 16, 5), FRIDAY),
        ({"NSE_EQ", "MCX_FO"}, at(FRIDAY, 16, 5), None),  # the other still trades
        ({"NSE_EQ", "MCX_FO"}, at(FRIDAY, 23, 58), None),
        ({"NSE_EQ", "MCX_FO"}, at(FRIDAY + timedelta(1), 0, 30), FRIDAY),
        ({"NSE_EQ"}, at(FRIDAY + timedelta(1), 12), FRIDAY),
        ({"NSE_EQ"}, at(FRIDAY + timedelta(3), 7), FRIDAY),  # a start on Monday morning does Friday's
        ({"NSE_EQ"}, at(FRIDAY + timedelta(3), 8, 45), None),
        ({"NSE_EQ"}, at(FRIDAY + timedelta(3), 16, 5), FRIDAY + timedelta(3)),
    ],
)
def test_job_is_due_in_the_evening_of_a_trading_day(segments: set[str], when: datetime, due: date | None) -> None:
    assert due_day(SegmentStates(Calendar()), segments, when) == due


def test_job_of_a_special_session_comes_after_it() -> None:
    states = SegmentStates(MUHURAT)
    assert due_day(states, {"NSE_EQ"}, at(FRIDAY, 12)) == FRIDAY - timedelta(1)
    assert due_day(states, {"NSE_EQ"}, at(FRIDAY, 18, 30)) is None
    assert due_day(states, {"NSE_EQ"}, at(FRIDAY, 20)) == FRIDAY


def test_market_that_is_open_by_its_own_word_is_not_disturbed() -> None:
    states = SegmentStates(Calendar())
    assert due_day(states, {"NSE_EQ"}, at(FRIDAY, 17)) == FRIDAY
    states.hear({"NSE_EQ": 2}, at(FRIDAY, 17))
    assert due_day(states, {"NSE_EQ"}, at(FRIDAY, 17)) is None


def test_ticks_are_exported_before_they_may_go() -> None:
    assert commands(settings(export=True, retain_days=30)) == [
        ["db", "refresh"],
        ["export"],
        ["db", "retain", "--keep-days", "30"],
    ]
    assert commands(settings(retain_days=7)) == [["db", "refresh"], ["db", "retain", "--keep-days", "7"]]
