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
COLUMNS = ("high", "low", "close")
# Of TA-Lib's own binding; our expressions reach it by another one.
PAIRS: dict[str, tuple[pl.Expr, Callable[..., np.ndarray]]] = {
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
    **{f"macd {n}": (ta.macd("close")[n], lambda hi, lo, c, n=n: talib.MACD(c)[n]) for n in range(3)},
    **{
        f"stochastic {n}": (ta.stochastic()[n], lambda hi, lo, c, n=n: talib.STOCH(hi, lo, c, 14, 3, 0, 3, 0)[n])
        for n in range(2)
    },
    "adx": (ta.adx(), talib.ADX),
    "plus di": (ta.plus_di(), talib.PLUS_DI),
    "minus di": (ta.minus_di(), talib.MINUS_DI),
    "supertrend": (ta.supertrend()[0], lambda hi, lo, c: talib.SUPERTREND(hi, lo, c, 10, 3.0)[0]),
    **{
        f"keltner {n}": (ta.keltner()[n], lambda hi, lo, c, n=n: talib.KC(hi, lo, c, 20, 10, 2.0)[2 - n])
        for n in range(3)
    },
    **{f"donchian {n}": (ta.donchian()[n], lambda hi, lo, c, n=n: talib.DONCHIAN(hi, lo, 20)[2 - n]) for n in range(3)},
    "cci": (ta.cci(), lambda hi, lo, c: talib.CCI(hi, lo, c, 20)),
    "williams": (ta.williams_r(), talib.WILLR),
    "wilder": (ta.wilder("close", 14), lambda hi, lo, c: talib.RMA(c, 14)),
}
UNKNOWN = [None, float("nan")]
# Whose windows have no end: they skip unknown rows.
SKIPPING = [name for name in PAIRS if name.split()[0] in {
    "ema", "rsi", "atr", "macd", "adx", "plus", "minus", "supertrend", "keltner", "wilder", "cci", "williams",
    "stochastic",
}]  # fmt: skip


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


@pytest.mark.parametrize("name", SKIPPING)
@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_rows_are_null_and_the_others_as_if_they_were_not_there(name: str, unknown: float | None) -> None:
    bars = random_bars(3, 400)
    rows = pl.int_range(pl.len())
    # Within the warm-up, behind it, two in a row, at the start and at the end.
    is_unknown = rows.is_in([0, 5, 6, 90, 91, 92, 250, 399])
    holed = bars.with_columns(pl.when(is_unknown).then(pl.lit(unknown)).otherwise("close").alias("close"))
    expr, judge = PAIRS[name]
    found = holed.select(expr.alias("x"), is_unknown.alias("unknown"))
    assert found.filter("unknown")["x"].null_count() == 8
    known = bars.filter(~is_unknown)
    assert_equal(found.filter(~pl.col("unknown"))["x"], judge(*(known[column].to_numpy() for column in COLUMNS)))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("rows", [0, 1, 2, 15])
def test_short_series_are_null_until_the_warm_up_ends(name: str, rows: int) -> None:
    bars = random_bars(4, 300)
    expr = PAIRS[name][0]
    assert bars.head(rows).select(expr.alias("x"))["x"].equals(bars.select(expr.alias("x"))["x"].head(rows))


def test_unknown_values_in_a_window_make_it_null_and_not_0() -> None:
    frame = pl.DataFrame({"x": [1.0, None, 2.0, 3.0, 4.0, float("nan"), 5.0, 5.0, 5.0]})
    assert frame.select(ta.ema("x", 3))["x"].to_list() == [None, None, None, 2.0, 3.0, None, 4.0, 4.5, 4.75]
    assert frame.select(ta.sma("x", 3))["x"].to_list() == [None] * 4 + [3.0, None, None, None, 5.0]
    assert frame.select(x=ta.deviation("x", 3))["x"].is_null().to_list() == [True] * 4 + [
        False,
        True,
        True,
        True,
        False,
    ]


def test_volume_indicators_equal_talib_and_skip_unknown_volumes() -> None:
    bars = random_bars(5)
    high, low, close, volume = (bars[name].cast(pl.Float64).to_numpy() for name in (*COLUMNS, "volume"))
    assert_equal(bars.select(x=ta.obv())["x"], talib.OBV(close, volume))
    assert_equal(bars.select(x=ta.mfi())["x"], talib.MFI(high, low, close, volume, 14))
    index = bars.with_columns(volume=pl.lit(None, pl.Int64))
    assert index.select(obv=ta.obv(), mfi=ta.mfi()).null_count().row(0) == (700, 700)


def test_supertrend_trails_the_price_on_the_side_that_it_says() -> None:
    bars = random_bars(6, 400)
    line, rising = ta.supertrend()
    found = bars.select("close", line.alias("line"), rising.alias("rising")).drop_nulls()
    assert found.height == 390 and set(found["rising"]) == {True, False}
    assert found.select(((pl.col("line") < pl.col("close")) == pl.col("rising")).all()).item()


def test_heikin_ashi_is_its_definition() -> None:
    bars = random_bars(7, 50).with_columns(open=pl.col("close").shift(1).fill_null(200.0))
    bars = bars.with_columns(high=pl.max_horizontal("open", "high"), low=pl.min_horizontal("open", "low"))
    first, top, bottom, last = ta.heikin_ashi()
    opened = closed = None
    for row in bars.select("open", "high", "low", "close", o=first, h=top, l=bottom, c=last).iter_rows(named=True):
        close = (row["open"] + row["high"] + row["low"] + row["close"]) / 4
        opened = (row["open"] + row["close"]) / 2 if opened is None else (opened + closed) / 2
        closed = close
        assert row["c"] == pytest.approx(close) and row["o"] == pytest.approx(opened)
        assert row["h"] == max(row["high"], row["o"], row["c"]) and row["l"] == min(row["low"], row["o"], row["c"])


def test_anchored_vwap_begins_at_its_anchor() -> None:
    bars = random_bars(8, 60).with_columns(anchor=pl.int_range(pl.len()).is_in([10, 35]))
    got = bars.select(x=ta.anchored_vwap("anchor"), high="high", low="low", close="close", volume="volume")
    assert got["x"].head(10).null_count() == 10
    for start, end in ((10, 35), (35, 60)):
        part = got[start:end]
        assert part["x"].to_list() == pytest.approx(part.select(ta.vwap())["high"].to_list(), nan_ok=True)


def test_rank_is_the_place_between_lowest_and_highest() -> None:
    frame = pl.DataFrame({"x": [0.2, 0.1, 0.3, None, 0.2, 0.25, 0.25, 0.25]})
    got = frame.select(x=ta.rank("x", 3, 2))["x"].to_list()
    # The fourth is unknown; in the last window nothing has moved.
    assert got == [None, 0.0, 100.0, None, 0.0, 100.0, 100.0, None]


REST = {
    "vwap": ta.vwap(),
    "volume ratio": ta.volume_ratio(),
    "zscore": ta.zscore("close", 20),
    "robust zscore": ta.robust_zscore("close", 20),
    "relative change": ta.relative_change("close"),
    "same time": ta.same_time_ratio(),
    "obv": ta.obv(),
    "mfi": ta.mfi(),
    "anchored vwap": ta.anchored_vwap(pl.col("close") > 200),
    "rank": ta.rank("close", 20),
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
