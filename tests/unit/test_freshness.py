"""Touched minutes as ranges."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.freshness import Touched

SECOND = 1e6


def seconds(ranges: list[tuple[datetime, datetime]]) -> list[tuple[float, float]]:
    return [(start.timestamp(), end.timestamp()) for start, end in ranges]


def test_touched_one_late_row_does_not_widen_the_range() -> None:
    touched = Touched()
    touched.add(np.array([3601.0, 3599.0, 62.0]) * SECOND)
    assert seconds(touched.take()) == [(60, 120), (3540, 3601.000001)]
    assert touched.take() == []


def test_touched_minute_of_the_newest_row_stays_open_until_a_newer_row() -> None:
    touched = Touched()
    touched.add(np.array([90.0]) * SECOND)
    assert seconds(touched.take()) == [(60, 90.000001)]
    touched.add(np.array([70.0]) * SECOND)  # late, in the minute that is open
    assert seconds(touched.take()) == [(60, 90.000001)]
    touched.add(np.array([80.0, 120.0]) * SECOND)
    assert seconds(touched.take()) == [(60, 120.000001)]


@given(st.lists(st.integers(0, 100_000), min_size=1))
def test_touched_ranges_hold_every_row_and_no_other_minute(rows: list[int]) -> None:
    touched = Touched()
    touched.add(np.array(rows, np.float64) * SECOND)
    ranges = touched.take()
    assert all(any(start <= row < end for start, end in seconds(ranges)) for row in rows)
    assert sum(-(-(end - start) // 60) for start, end in seconds(ranges)) == len({row // 60 for row in rows})
    assert all(before[1] < after[0] for before, after in zip(ranges, ranges[1:]))
    touched.give_back(ranges)
    assert touched.take() == ranges
