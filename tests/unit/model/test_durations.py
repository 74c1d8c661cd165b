"""Durations in buckets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.model.durations import BOUNDS_S, Durations

SECONDS = st.lists(st.one_of(st.floats(-1, 1e4), st.sampled_from(BOUNDS_S)), max_size=50)


@given(SECONDS, SECONDS)
def test_durations_of_an_array_count_like_single_ones_and_each_is_in_its_bucket(
    one: list[float], other: list[float]
) -> None:
    singly, together = Durations(), Durations()
    for seconds in one + other:
        singly.add(seconds)
    for part in (one, other):
        together.add_all(np.array([*part, np.nan]))
    assert singly.counts == together.counts
    assert np.isclose(singly.total_s, together.total_s)
    for bound, below in zip(BOUNDS_S, np.cumsum(singly.counts).tolist()):
        assert below == sum(seconds <= bound for seconds in one + other)
    assert sum(singly.counts) == len(one + other)
