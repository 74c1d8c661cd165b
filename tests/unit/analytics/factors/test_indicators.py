"""Indicators against TA-Lib, on real bars and on random series with gaps and constant stretches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.factors import indicators as ta
from tests.data import data_file

TOLERANCE = 1e-9
PAIRS: dict[str, tuple[pl.Expr, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]]] = {
    **{f"sma {n}": (ta.sma("close", n), lambda hi, lo, c, n=n: talib.SMA(c, n)) for n in (2, 20, 50, 200)},
    **{f"ema {n}": (ta.ema("close", n), lambda hi, lo, c, n=n: talib.EMA(c, n)) for n in (2, 20, 50, 200)},
    "rsi": (ta.rsi("close", 14), lambda hi, lo, c: talib.RSI(c, 14)),
    "true range": (ta.true_range(), talib.TRANGE),
    "atr": (ta.atr(14), lambda hi, lo, c: talib.ATR(hi, lo, c, 14)),
    "roc": (ta.roc("close", 10), lambda hi, lo, c: talib.ROC(c, 10)),
    "momentum": (ta.momentum("close", 10), lambda hi, lo, c: talib.MOM(c, 10)),
    "lower band": (ta.bollinger("close")[0], lambda hi, lo, c: talib.BBANDS(c, 20)[2]),
    "middle band": (ta.bollinger("close")[1], lambda hi, lo, c: talib.BBANDS(c, 20)[1]),
    "upper band": (ta.bollinger("close")[2], lambda hi, lo, c: talib.BBANDS(c, 20)[0]),
}


def random_bars(seed: int, rows: int = 700) -> pl.DataFrame:
    """A walk on a grid of 5 paise, with constant stretches."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-20, 21, rows) * (rng.random(rows) < 0.8)
    for start in rng.integers(0, rows, 4):
        steps[start : start + 60] = 0
    close = 200 + np.cumsum(steps) * 0.05
    high, low = close + rng.integers(0, 5, rows) * 0.05, close - rng.integers(0, 5, rows) * 0.05
    return pl.DataFrame({"high": high, "low": low, "close": close, "volume": rng.integers(0, 900, rows)})


def assert_equal(ours: pl.Series, theirs: np.ndarray) -> None:
    """Null exactly where TA-Lib has NaN, equal elsewhere."""
    assert ours.is_null().to_list() == np.isnan(theirs).tolist()
    known = ~np.isnan(theirs)
    np.testing.assert_allclose(ours.to_numpy()[known], theirs[known], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", PAIRS)
def test_indicator_of_real_bars_equals_talib(name: str) -> None:
    bars = pl.read_parquet(data_file("nse-reliance-1m.parquet")).sort("bucket")
    expr, judge = PAIRS[name]
    theirs = judge(*(bars[column].to_numpy() for column in ("high", "low", "close")))
    assert_equal(bars.select(expr.alias("x"))["x"], theirs)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("seed", range(5))
def test_indicator_of_runs_between_gaps_equals_talib_in_each(name: str, seed: int) -> None:
    bars = random_bars(seed).with_columns(run=pl.int_range(pl.len()) // 260)
    expr, judge = PAIRS[name]
    ours = bars.lazy().with_columns(expr.over("run").alias("x")).collect()
    assert ours.equals(bars.with_columns(expr.over("run").alias("x")))
    for _, run in ours.group_by("run", maintain_order=True):
        assert_equal(run["x"], judge(*(run[column].to_numpy() for column in ("high", "low", "close"))))


REST = {
    "vwap": ta.vwap(),
    "volume ratio": ta.volume_ratio(),
    "zscore": ta.zscore("close", 20),
    "robust zscore": ta.robust_zscore("close", 20),
    "relative change": ta.relative_change("close"),
    "same time": ta.same_time_ratio(),
}


@pytest.mark.parametrize("name", [*PAIRS, *REST])
def test_indicator_over_many_instruments_equals_one_by_one(name: str) -> None:
    expr = REST[name] if name in REST else PAIRS[name][0]
    parts = [random_bars(seed, 300).with_columns(key=pl.lit(str(seed))) for seed in range(4)]
    mixed = pl.concat(parts).with_columns(at=pl.int_range(pl.len()).over("key")).sort("at", "key")
    together = mixed.with_columns(expr.over("key").alias("x")).sort("key", "at")["x"]
    alone = pl.concat([part.select(expr.alias("x")) for part in parts])["x"]
    assert together.equals(alone, null_equal=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=25, max_size=80))
def test_windows_equal_their_definition(values: list[int]) -> None:
    x = np.array(values, float)
    got = pl.DataFrame({"x": x}).select(
        z=ta.zscore("x", 20),
        ratio=ta.volume_ratio("x", 20),
        same=ta.same_time_ratio("x"),
        robust=ta.robust_zscore("x", 5),
    )
    medians = np.array([np.median(x[max(0, i - 4) : i + 1]) for i in range(len(x))])
    for i, row in enumerate(got.iter_rows(named=True)):
        before = x[max(0, i - 20) : i]
        whole = i >= 20
        assert row["z"] == (
            pytest.approx((x[i] - before.mean()) / before.std()) if whole and before.std() > 0 else None
        )
        assert row["ratio"] == (pytest.approx(x[i] / before.mean()) if whole and before.mean() > 0 else None)
        usual = np.median(x[max(0, i - 5) : i]) if i >= 3 else 0
        assert row["same"] == (pytest.approx(x[i] / usual) if usual > 0 else None)
        spread = 1.4826 * np.median(np.abs(x - medians)[i - 5 : i]) if i >= 9 else 0
        assert row["robust"] == (pytest.approx((x[i] - medians[i - 1]) / spread) if spread > 0 else None)


def test_build_up_names_the_four_classes() -> None:
    frame = pl.DataFrame({"p": [1.0, -1.0, 1.0, -1.0, 0.0, None], "o": [5, 5, -5, -5, 5, 5]})
    assert frame.select(ta.build_up("p", "o"))["literal"].to_list() == [
        "long", "short", "covering", "unwinding", None, None,
    ]  # fmt: skip


def test_exposure_is_in_units_and_in_rupees_a_percent() -> None:
    frame = pl.DataFrame({"delta": [0.5], "gamma": [0.002], "oi": [1000], "spot": [25_000.0]})
    got = frame.select(d=ta.delta_exposure(), g=ta.gamma_exposure("spot")).row(0)
    assert got == pytest.approx((500.0, 0.002 * 1000 * 25_000.0**2 / 100))
