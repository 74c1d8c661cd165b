"""Indian day of epoch milliseconds: of a number, of an array, and as `datetime` computes it."""

from __future__ import annotations

import doctest
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import ingest
from ingest.market import time as market_time
from ingest.market.time import CURRENT_MS_MAX, DAY_MS, day_number, day_start_ms, market_day

TIMES = st.integers(0, CURRENT_MS_MAX)
FIRST = date(1970, 1, 1)


@given(TIMES)
def test_day_number_is_the_day_of_the_calendar(at_ms: int) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    assert FIRST + timedelta(days=day_number(at_ms)) == market_day(at)
    assert day_start_ms(day_number(at_ms)) <= at_ms < day_start_ms(day_number(at_ms)) + DAY_MS


@given(st.lists(TIMES, max_size=9))
def test_day_number_of_an_array_is_that_of_each(times: list[int]) -> None:
    for kind in (np.int64, np.float64):
        days = day_number(np.array(times, kind))
        assert days.tolist() == [day_number(at_ms) for at_ms in times] and days.dtype == kind
        assert day_start_ms(days).tolist() == [day_start_ms(day_number(at_ms)) for at_ms in times]


def test_examples_of_the_docstrings_run() -> None:
    assert doctest.testmod(market_time).failed == 0


def test_rule_of_the_day_stands_once() -> None:
    root = Path(ingest.__file__).parent
    rule = re.compile(
        r"// *DAY_MS|IST_OFFSET_MS|19_?800|hours=5, *minutes=30|\+ IST\)\.date|- IST\b|/ 1(000|e3), UTC|us\(.*\* 1000\)"
    )
    found = [path.name for path in root.rglob("*.py") if rule.search(path.read_text(encoding="utf-8"))]
    assert found == ["time.py"]
