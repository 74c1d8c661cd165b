"""How labelled events are judged, and that the built-in weights are those of the fit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from analytics.evaluation.fitting import calibrated, calibration, cross_validated, fit, scored
from analytics.evaluation.labelled import (
    baselines,
    curve,
    difference,
    intervals,
    judge,
    matched_baselines,
    read_events,
)
from analytics.evaluation.reliability import reliability
from analytics.signals.rules import DEFAULT
from tests.data import data_file


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return read_events(pl.read_parquet(data_file("pump-events-1m-train.parquet")))


@pytest.fixture(scope="module")
def bars_of_events(events: pl.DataFrame) -> pl.DataFrame:
    return scored(events, DEFAULT)


@pytest.fixture(scope="module")
def unseen_bars(bars_of_events: pl.DataFrame) -> pl.DataFrame:
    """The same with scores of rules that were fitted without their event."""
    return cross_validated(bars_of_events, DEFAULT)


def test_evaluation_default_rules_and_unseen_folds_beat_every_baseline(
    events: pl.DataFrame, bars_of_events: pl.DataFrame, unseen_bars: pl.DataFrame
) -> None:
    fires = bars_of_events.filter(1 / (1 + (-pl.col("score")).exp()) >= DEFAULT.confidence_min)
    folds = curve(calibrated(unseen_bars), events, (0.3, DEFAULT.confidence_min)).to_dicts()
    others = [judge(alarms, events) for alarms in baselines(events).values()]
    for found in (judge(fires, events).as_dict(), *folds):
        assert found["precision"] > 0.96 and found["recall"] > 0.81  # what the data's README names
        for other in others:
            assert found["precision"] > (other.precision or 0) and found["recall"] >= other.recall


def test_confidence_of_unseen_events_agrees_with_the_share_that_is_right(unseen_bars: pl.DataFrame) -> None:
    found = reliability(calibrated(unseen_bars))
    assert found["brier"] < 0.2 * found["brier_of_base_rate"]
    assert sum(row["alarms"] for row in found["bins"]) > 50
    for row in found["bins"]:
        assert row["right_from"] <= row["confidence"] <= row["right_to"] or row["right"] in (0.0, 1.0), row


def test_reliability_counts_alarms_by_their_highest_confidence() -> None:
    bars = pl.DataFrame(
        {
            "instrument_key": ["a"] * 3 + ["b"] * 2,
            "minute": [-400, -300, 2, 3, 400],
            "score": [-1.0, -2.0, 0.0, 3.0, 3.0],
        }
    )
    found = reliability(bars, edges=(0.25, 0.75))
    assert [(row["alarms"], row["right"]) for row in found["bins"]] == [(1, 0.0), (2, 0.5), (2, 0.5)]
    confidences = [1 / (1 + np.exp(-score)) for score in (-1, -2, 0, 3, 3)]
    errors = [(c - right) ** 2 for c, right in zip(confidences, (0, 0, 1, 1, 0), strict=True)]
    assert found["brier"] == pytest.approx(np.mean(errors))
    assert found["brier_of_base_rate"] == pytest.approx(0.24)
    # 1 of 2: what Wilson's formula gives with 90 %.
    assert (found["bins"][1]["right_from"], found["bins"][1]["right_to"]) == pytest.approx((0.1208, 0.8792), abs=1e-3)


def test_default_weights_are_those_of_the_fit(bars_of_events: pl.DataFrame, unseen_bars: pl.DataFrame) -> None:
    slope, shift = calibration(unseen_bars)
    fitted = fit(bars_of_events, DEFAULT)
    assert fitted.other.price * slope == pytest.approx(DEFAULT.other.price, abs=0.01)
    for name, weight in fitted.other.confirm[0].items():
        assert weight * slope == pytest.approx(DEFAULT.other.confirm[0][name], abs=0.01)
    assert fitted.other.bias * slope + shift == pytest.approx(DEFAULT.other.bias, abs=0.01)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([-5], (1, 0)),
        ([10], (1, 0)),
        ([-6], (0, 1)),
        ([11], (0, 0)),
        ([180], (0, 0)),
        ([181], (0, 1)),
        ([-200, -150, -100], (0, 1)),
        ([-200, -139], (0, 2)),
        ([-60, 0], (1, 0)),
        ([0, 50, 100, 150, 200], (1, 0)),
        ([], (0, 0)),
    ],
)
def test_judge_alarms_near_an_announcement_match_as_documented(minutes: list[int], expected: tuple[int, int]) -> None:
    bars = pl.DataFrame({"instrument_key": "a", "minute": range(-1440, 1441)})
    outcome = judge(bars.filter(pl.col("minute").is_in(minutes)), bars)
    assert (outcome.true_positives, outcome.false_positives) == expected
    assert outcome.false_negatives == 1 - expected[0]
    assert outcome.false_alarms_per_day == pytest.approx(expected[1] / 2)


def test_differences_to_baselines_are_paired_by_event_and_baselines_have_as_many_alarms(
    events: pl.DataFrame, bars_of_events: pl.DataFrame
) -> None:
    fires = bars_of_events.filter(1 / (1 + (-pl.col("score")).exp()) >= DEFAULT.confidence_min)
    own = judge(fires, events)
    number = own.true_positives + own.false_positives
    for threshold, found in matched_baselines(events, number).values():
        other = judge(found, events)
        assert np.isfinite(threshold) and 0 < other.true_positives + other.false_positives <= number
        assert difference(fires, found, events)["recall"]["value"] == pytest.approx(own.recall - other.recall)
    assert {one["verdict"] for one in difference(fires, fires, events).values()} == {"no difference shown"}
    within = intervals(fires, events)["recall"]
    assert within["low"] < own.recall == within["value"] < within["high"]
