"""Weights fitted to a user's own history: better where there is something to learn, the old ones where there is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from analytics.cli.spikes_fit import fit_command
from analytics.evaluation.history import read_history
from analytics.evaluation.own_weights.target import LABEL_WEIGHT, with_target
from analytics.evaluation.own_weights.weights import DAYS_MIN, monotone_logistic
from analytics.signals.rules import DEFAULT, load_rules

MINUTES = 120


def history(*, follows: bool, days: int = 22, instruments: int = 14, seed: int = 4) -> pl.DataFrame:
    """Bars with two kinds of spikes: a large move with some volume, and some move with a large volume.

    What follows the first is turbulent for twenty minutes if `follows`; nothing ever follows the second.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(instruments):
        for day in range(days):
            steps, volume = rng.standard_normal(MINUTES), rng.integers(800, 1200, MINUTES)
            large, some = rng.permutation([int(rng.integers(35, 55)), int(rng.integers(80, 100))])
            if follows:
                steps[large : large + 20] *= 2.5
            steps[large], steps[some] = 9.0, 4.5
            volume[large], volume[some] = 12_000, 22_000
            close = 100 * np.exp(np.cumsum(steps * 0.0004))
            before = np.concatenate([[100.0], close[:-1]])
            start = datetime(2026, 1, 5, 3, 45, tzinfo=UTC) + timedelta(days=day)
            parts.append(
                pl.DataFrame(
                    {
                        "instrument_key": f"NSE_EQ|{number}",
                        "bucket": [start + timedelta(minutes=minute) for minute in range(MINUTES)],
                        "open": before,
                        "high": np.maximum(before, close) * 1.0001,
                        "low": np.minimum(before, close) * 0.9999,
                        "close": close,
                        "volume": volume,
                    }
                )
            )
    return pl.concat(parts)


def fitted(bars: pl.DataFrame, tmp_path: Path) -> tuple[str, Path]:
    source, target = tmp_path / "bars.parquet", tmp_path / "mine.toml"
    bars.write_parquet(source)
    result = CliRunner().invoke(fit_command, [str(source), "--output", str(target)])
    assert result.exit_code == 0, result.output
    return result.output, target


def test_fit_writes_better_weights_as_rules_that_can_be_read_and_used(tmp_path: Path) -> None:
    said, target = fitted(history(follows=True), tmp_path)
    assert "equity: 14 instruments, 22 days" in said and "new weights, better on the held-out days" in said
    found = load_rules(target)
    assert found.name == "fitted-2026-01-26" and (found.index, found.other) == (DEFAULT.index, DEFAULT.other)
    # Only large moves are followed by something here, so volume weighs less beside them than by the built-in rules.
    own, old = found.equity, DEFAULT.equity
    assert own.confirm[0]["volume"] / own.price < 0.7 * old.confirm[0]["volume"] / old.price
    assert min(own.support.values(), default=0.0) >= 0.0


def test_fit_keeps_the_weights_where_nothing_can_be_learned_or_days_are_few(tmp_path: Path) -> None:
    said, target = fitted(history(follows=False), tmp_path)
    assert "weights as they are, not better on the held-out days" in said and not target.exists()
    said, target = fitted(history(follows=True, days=DAYS_MIN - 1, instruments=1), tmp_path)
    assert f"19 days, and {DAYS_MIN} are needed" in said and not target.exists()


def test_no_coefficient_is_negative_and_the_others_are_those_without_it() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4000, 3))
    p = 1 / (1 + np.exp(-(x[:, 0] - 1.5 * x[:, 1] - 1)))
    y = (rng.random(4000) < p).astype(float)
    found = monotone_logistic(x, y, np.ones(4000))
    assert found[2] == 0.0 and found[1] > 0.3 and found[3] >= 0.0
    alone = monotone_logistic(x[:, :1], y, np.ones(4000))
    assert found[:2] == pytest.approx(alone[:2], abs=0.05)


def test_label_makes_the_bars_around_it_right_or_wrong_and_outweighs_them() -> None:
    bars = read_history(history(follows=False, days=3, instruments=1))
    scored = bars.select("instrument_key", "bucket", "day")
    at = bars["bucket"][50]
    labels = pl.DataFrame(
        {"instrument_key": ["NSE_EQ|0"] * 2, "bucket": [at, at + timedelta(minutes=20)], "verdict": ["missed", "wrong"]}
    ).cast({"bucket": bars.schema["bucket"]})
    found = with_target(scored, bars, bars["day"].unique(), labels).filter(pl.col("weight") == LABEL_WEIGHT)
    minutes = ((found["bucket"] - at).dt.total_minutes()).to_list()
    assert minutes == [-2, -1, 0, 1, 2, 18, 19, 20, 21, 22]
    assert found["target"].to_list() == [True] * 5 + [False] * 5
