"""Session calendar: states of segments on usual, special and closed days."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.market.calendar import EXCHANGES, Calendar, SegmentState, state_of_status
from ingest.market.time import market_day, moment
from ingest.upstox.answers import calendar_of

CLOSED, PRE, OPEN, AUCTION = SegmentState.CLOSED, SegmentState.PRE_OPEN, SegmentState.OPEN, SegmentState.AUCTION
BUILT_IN = Calendar()
FRIDAY = date(2026, 11, 20)


def at(day: str, clock: str) -> datetime:
    """An Indian time as aware UTC."""
    return moment(date.fromisoformat(day), time.fromisoformat(clock))


def row(exchange: str, day: str, opens: str, closes: str) -> dict[str, object]:
    """One row of the vendor's timings."""
    start, end = (int(at(day, clock).timestamp() * 1000) for clock in (opens, closes))
    return {"exchange": exchange, "start_time": start, "end_time": end}


@pytest.mark.parametrize(
    ("segment", "day", "clock", "state"),
    [
        ("NSE_FO", "2026-11-20", "08:59:59", CLOSED),
        ("NSE_FO", "2026-11-20", "09:00", PRE),
        ("NSE_FO", "2026-11-20", "09:15", OPEN),
        ("NSE_FO", "2026-11-20", "15:39:59", OPEN),
        ("NSE_FO", "2026-11-20", "15:40", CLOSED),
        ("NSE_FO", "2026-07-31", "15:35", CLOSED),
        ("NSE_FO", "2025-11-20", "09:05", CLOSED),
        ("NSE_EQ", "2026-11-20", "15:14:59", OPEN),
        ("NSE_EQ", "2026-11-20", "15:15", AUCTION),
        ("NSE_EQ", "2026-11-20", "15:30", CLOSED),
        ("NSE_EQ", "2026-07-31", "15:15", OPEN),
        ("NSE_INDEX", "2026-11-20", "15:20", OPEN),
        ("NSE_INDEX", "2026-11-20", "15:30", CLOSED),
        ("NCD_FO", "2026-11-20", "16:59", OPEN),
        ("MCX_FO", "2026-11-20", "23:00", OPEN),
        ("NSE_FO", "2026-11-21", "10:00", CLOSED),
        ("NSE_FO", "2026-11-24", "10:00", CLOSED),
    ],
)
def test_state_built_in_hours_are_the_exchanges(segment: str, day: str, clock: str, state: SegmentState) -> None:
    assert BUILT_IN.state(segment, at(day, clock)) is state


def test_state_muhurat_session_on_a_sunday_is_open_without_auction() -> None:
    holidays = [
        {
            "date": "2026-11-08",
            "holiday_type": "SPECIAL_TIMING",
            "closed_exchanges": [],
            "open_exchanges": [row("NSE", "2026-11-08", "18:00", "19:00"), row("NFO", "2026-11-08", "18:00", "19:00")],
        }
    ]
    calendar = calendar_of(holidays, {})
    assert [change.state for change in calendar.changes("NSE_EQ", date(2026, 11, 8))] == [PRE, OPEN, CLOSED]
    assert calendar.state("NSE_FO", at("2026-11-08", "18:59")) is OPEN
    assert calendar.state("MCX_FO", at("2026-11-08", "18:59")) is CLOSED
    assert calendar.next_change("NSE_FO", at("2026-11-07", "12:00")) == (at("2026-11-08", "17:45"), PRE)


def test_calendar_holiday_closes_only_the_exchanges_it_names() -> None:
    holiday = {"date": "2026-11-20", "holiday_type": "TRADING_HOLIDAY", "closed_exchanges": ["NSE", "NFO"]}
    calendar = calendar_of([{**holiday, "open_exchanges": []}], {})
    assert calendar.hours("NSE_FO", FRIDAY) is None
    assert calendar.hours("MCX_FO", FRIDAY) is not None
    settlement = calendar_of([{**holiday, "holiday_type": "SETTLEMENT_HOLIDAY"}], {})
    assert settlement.state("NSE_FO", at("2026-11-20", "12:00")) is OPEN


def test_calendar_timings_of_a_day_win_over_holidays_and_built_in_hours() -> None:
    calendar = calendar_of([], {"2026-11-20": [row("NFO", "2026-11-20", "09:15", "16:10")], "2026-11-23": []})
    assert calendar.state("NSE_FO", at("2026-11-20", "16:09")) is OPEN
    assert calendar.state("NSE_EQ", at("2026-11-20", "12:00")) is CLOSED
    assert calendar.state("NSE_FO", at("2026-11-23", "12:00")) is OPEN  # an empty answer alone closes nothing


def test_next_change_passes_weekend_and_holiday() -> None:
    assert BUILT_IN.next_change("NSE_FO", at("2026-11-20", "15:40")) == (at("2026-11-23", "09:00"), PRE)
    assert BUILT_IN.next_change("NSE_FO", at("2026-11-23", "15:40")) == (at("2026-11-25", "09:00"), PRE)


def test_contract_day_rolls_at_the_close_of_the_day() -> None:
    assert BUILT_IN.contract_day(at("2026-11-20", "15:39:59")) == FRIDAY
    assert BUILT_IN.contract_day(at("2026-11-20", "15:40")) == date(2026, 11, 21)
    assert BUILT_IN.contract_day(at("2026-11-21", "23:00")) == date(2026, 11, 21)


def test_state_of_status_names_every_status_of_the_feed() -> None:
    assert [state_of_status(status) for status in range(7)] == [PRE, PRE, OPEN, CLOSED, AUCTION, CLOSED, OPEN]


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)), st.sampled_from([*EXCHANGES])
)
def test_next_change_is_the_first_time_at_which_the_state_differs(now: datetime, segment: str) -> None:
    change = BUILT_IN.next_change(segment, now)
    assert change is not None and change.at > now
    assert BUILT_IN.state(segment, change.at) is change.state
    middle = now + (change.at - now) / 2
    assert BUILT_IN.state(segment, middle) is BUILT_IN.state(segment, now)
    assert market_day(change.at) >= market_day(now)


@pytest.mark.parametrize("at", [1e30, -1e30, None, "09:15", float("nan"), 1e18])
def test_calendar_odd_row_costs_itself(at: Any) -> None:
    good, odd = row("NFO", "2026-11-20", "09:15", "16:10"), row("BSE", "2026-11-20", "09:15", "16:10")
    odd["start_time"] = at
    holidays = [{"date": "soon"}, None, {"date": "2026-11-24", "closed_exchanges": ["NSE"]}]
    calendar = calendar_of(holidays, {"2026-11-20": [odd, good]})
    assert list(calendar.days[date(2026, 11, 20)]) == ["NFO"] and list(calendar.closed) == [date(2026, 11, 24)]
    with pytest.raises(ValueError, match="none of 1 items"):
        calendar_of([], {"2026-11-20": [odd]})
