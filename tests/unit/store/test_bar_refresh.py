"""Touched minutes of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.market.time import MINUTE_US
from ingest.store.bar_refresh import newest_of_minutes


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_newest_of_minutes_is_one_of_each_minute_that_has_a_row(rows: list[int]) -> None:
    newest = [int(us) for us in newest_of_minutes(np.array(rows, np.float64))]
    assert newest == [
        max(us for us in rows if us // MINUTE_US == minute) for minute in sorted({us // MINUTE_US for us in rows})
    ]
