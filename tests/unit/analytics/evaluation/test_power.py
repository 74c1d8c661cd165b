"""A made-up market is quiet and exact, planted events are what their truth says, and power grows with their size."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import polars.testing
import pytest
from click.testing import CliRunner

from analytics.cli.evaluate import evaluate_command
from analytics.evaluation.classes import CLASSES
from analytics.evaluation.detector import SCORED
from analytics.evaluation.history import DAY, read_history
from analytics.evaluation.planted_events.events import KINDS, Event
from analytics.evaluation.planted_events.market import MINUTES, Market
from analytics.evaluation.planted_events.power import Settings, power_of
from analytics.evaluation.rule_detector import RuleDetector
from analytics.signals.rules import DEFAULT


class Steps:
    """A detector of one minute's jump of price, in deviations of the instrument's usual minute."""

    name, context_days = "steps", 3

    def fit(self, history: pl.DataFrame) -> Steps:
        return self

    def scored(self, bars: pl.DataFrame) -> pl.DataFrame:
        move = pl.col("close").log().diff().over("instrument_key", DAY).abs()
        marked = bars.with_columns(score=move / move.median().over("instrument_key"), confidence=pl.lit(None))
        marked = marked.with_columns(rising=pl.lit(True), onset=(pl.col("score") > 30).fill_null(False))
        return marked.select(*SCORED).cast(SCORED)


@pytest.mark.parametrize("kind", CLASSES)
def test_made_up_day_is_the_same_each_time_and_well_formed(kind: str) -> None:
    days = [Market(kind, 20, seed=7).quiet_days(2) for _ in range(2)]
    pl.testing.assert_frame_equal(*days, check_exact=True)
    bars = days[0]
    assert read_history(bars)["instrument_class"].unique().to_list() == [kind]
    assert bars.filter(
        (pl.col("high") < pl.max_horizontal("open", "close")) | (pl.col("low") > pl.min_horizontal("open", "close"))
    ).is_empty()
    assert (bars["volume"].null_count() == bars.height) == (kind == "index")
    if kind == "equity":  # a day begins busier than it goes on
        at = pl.col("bucket").dt.time().rank("dense").over("instrument_key")
        volumes = bars.with_columns(at=at).group_by(at=pl.col("at") <= 30).agg(pl.col("volume").mean()).sort("at")
        assert volumes["volume"][1] > 1.3 * volumes["volume"][0]
    assert not Market(kind, 20, seed=8).quiet_days(1)["close"].equals(bars["close"].head(20 * MINUTES))


@pytest.mark.parametrize(("kind", "what"), [(kind, what) for kind in CLASSES for what in KINDS[kind]])
def test_planted_event_is_what_its_truth_says_and_nothing_else_changes(kind: str, what: str) -> None:
    market = Market(kind, 10, seed=3)
    market.quiet_days(1)
    quiet, nothing = market.day()
    day, truth = market.day([Event(4, 100, what, 25.0, 1)])
    assert nothing.is_empty()
    row = truth.row(0, named=True)
    assert (row["instrument_key"], row["instrument_class"], row["kind"], row["size"]) == (
        market.keys[4],
        kind,
        what,
        25.0,
    )
    is_it = (pl.col("instrument_key") == row["instrument_key"]) & (pl.col("bucket") >= row["bucket"])
    pl.testing.assert_frame_equal(day.filter(~is_it), quiet.filter(~is_it), check_exact=True)
    at = pl.col("bucket") == row["bucket"]
    before, after = (frame.filter(is_it & at).row(0, named=True) for frame in (quiet, day))
    if row["move"] is not None:
        assert np.log(after["close"] / before["close"]) == pytest.approx(row["move"], rel=0.05, abs=0.001)
        assert after["high"] >= max(after["close"], after["open"]) and after["open"] == before["open"]
    if row["volume_multiple"] is not None:
        assert after["volume"] == pytest.approx(before["volume"] * 25, rel=1e-6)
    if row["iv_points"] is not None:
        assert 100 * (after["iv"] - before["iv"]) == pytest.approx(row["iv_points"])
    if row["oi_change"] is not None:
        assert after["oi"] / before["oi"] - 1 == pytest.approx(row["oi_change"], abs=1e-4)


def test_power_of_a_detector_of_steps_grows_with_size_at_the_allowed_false_alarms() -> None:
    found = power_of(Steps(), "equity", Settings(instruments=25, rate=0.2, sizes=(3.0, 20.0)))
    json.dumps(found, allow_nan=False)
    shares = {(cell["kind"], cell["size"]): cell["found"]["value"] for cell in found["cells"]}
    assert shares["price", 20.0] > 0.9 > shares["price", 3.0] + 0.3
    assert shares["volume", 20.0] < 0.2  # it does not look at volume
    assert found["false_alarms"]["low"] <= 0.2 <= found["false_alarms"]["high"] + 0.1


def test_power_command_prints_each_kind_and_refuses_data_of_its_own() -> None:
    arguments = ["--power", "--class", "index", "--instruments", "5"]
    shown = CliRunner().invoke(evaluate_command, arguments, catch_exceptions=False)
    assert shown.exit_code == 0 and "index: 5 events each" in shown.output
    assert CliRunner().invoke(evaluate_command, [*arguments, "INFY"]).exit_code == 2


@pytest.mark.soak
@pytest.mark.parametrize("kind", CLASSES)
def test_power_of_the_rules_does_not_fall_with_size(kind: str) -> None:
    found = power_of(RuleDetector(DEFAULT), kind, Settings(instruments=200))
    for what in KINDS[kind]:
        cells = [cell["found"] for cell in found["cells"] if cell["kind"] == what]
        for smaller, larger in zip(cells, cells[1:], strict=False):
            assert larger["high"] >= smaller["low"], (what, cells)
