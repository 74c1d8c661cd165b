"""Intervals cover what they should, and tell differences from noise."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from analytics.evaluation.detector import matched, onsets
from analytics.evaluation.intervals import Interval, bootstrap, compared, share, verdict


def ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def test_bootstrap_covers_a_rate_in_about_95_of_100_worlds_and_wilson_a_share() -> None:
    rng = np.random.default_rng(5)
    rates = [bootstrap(np.stack([rng.poisson(2, 40), np.ones(40)], 1), ratio, seed) for seed in range(200)]
    assert 0.90 <= np.mean([one.low <= 2 <= one.high for one in rates]) <= 0.99  # type: ignore[operator]
    shares = [share(rng.binomial(60, 0.3), 60) for _ in range(500)]
    assert 0.92 <= np.mean([one.low <= 0.3 <= one.high for one in shares]) <= 0.98  # type: ignore[operator]


def test_wilson_of_all_hits_is_not_certain_and_of_nothing_is_unknown() -> None:
    assert share(24, 24).low == pytest.approx(0.862, abs=1e-3)
    assert share(0, 0) == Interval(None, None, None)


def test_paired_difference_is_shown_where_days_differ_more_than_detectors() -> None:
    rng = np.random.default_rng(3)
    days = rng.gamma(2, 5, 30)  # how busy a day is, for both
    blocks = np.stack([days + 1 + rng.normal(0, 0.3, 30), np.ones(30), days, np.ones(30)], 1)
    found = compared(blocks, lambda s: s[:, 0] / s[:, 1], lambda s: s[:, 2] / s[:, 3])
    assert found["verdict"] == "better" and 0.8 < found["low"] < found["high"] < 1.2
    assert compared(blocks, lambda s: s[:, 2] / s[:, 3], ratio)["verdict"] == "worse"
    same = compared(blocks, ratio, ratio)
    assert same["verdict"] == "no difference shown"
    assert verdict(Interval(1.0, 0.5, 1.5), more_is_better=False) == "worse"


def test_few_blocks_have_no_interval() -> None:
    assert bootstrap(np.ones((4, 2)), ratio) == Interval(1.0, None, None)


def test_matched_threshold_gives_at_most_the_number_of_alarms() -> None:
    minutes = pl.datetime_range(pl.datetime(2026, 1, 5), pl.datetime(2026, 1, 9), "10m", time_zone="UTC", eager=True)
    score = pl.Series(np.random.default_rng(1).normal(size=len(minutes)))
    scored = pl.DataFrame({"instrument_key": "a", "bucket": minutes, "score": score})
    threshold = matched(scored["score"], lambda at: onsets(scored, at).height, 12)
    assert onsets(scored, threshold).height == 12
    assert matched(scored["score"], lambda at: 5, 3) == float("inf")
