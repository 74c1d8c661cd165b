"""Features and spike detection on real and made bars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import polars.testing
import pytest

from analytics import features, spikes
from analytics.factors import indicators as ta
from analytics.factors.frame import RUN
from analytics.signals.columns import SIGNALS
from analytics.signals.rules import CLASSES, DEFAULT, load_rules
from ingest.errors import ConfigError
from tests.data import data_file

START = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
RELIANCE = "NSE_EQ|INE002A01018"
KNOWN_DAYS = ("2026-01-06", "2026-01-19", "2026-02-01")


def made(rows: int = 375, key: str = RELIANCE, seed: int = 1, start: datetime = START) -> pl.DataFrame:
    """A quiet session."""
    rng = np.random.default_rng(seed)
    close = 1000 * np.exp(np.cumsum(rng.normal(0, 0.0004, rows)))
    return pl.DataFrame(
        {
            "instrument_key": [key] * rows,
            "bucket": [start + timedelta(minutes=i) for i in range(rows)],
            "open": np.concatenate([close[:1], close[:-1]]),
            "high": close * (1 + rng.uniform(0, 0.0004, rows)),
            "low": close * (1 - rng.uniform(0, 0.0004, rows)),
            "close": close,
            "volume": rng.integers(500, 1500, rows),
            "quality": ["complete"] * rows,
        }
    ).with_columns(high=pl.max_horizontal("open", "high"), low=pl.min_horizontal("open", "low"))


def planted(
    bars: pl.DataFrame, at: int, *, move: float = 0.02, volume: int = 10, quality: str = "complete"
) -> pl.DataFrame:
    """The same with a jump that stays."""
    row = pl.int_range(pl.len())
    factor = pl.when(row >= at).then(1 + move).otherwise(1.0)
    return bars.with_columns(
        open=pl.col("open") * pl.when(row > at).then(1 + move).otherwise(1.0),
        **{name: pl.col(name) * factor for name in ("high", "low", "close")},
        volume=pl.col("volume") * pl.when(row == at).then(volume).otherwise(1),
        quality=pl.when(row == at).then(pl.lit(quality)).otherwise("quality"),
    ).with_columns(high=pl.max_horizontal("open", "high"), low=pl.min_horizontal("open", "low"))


@pytest.mark.parametrize("move", [0.02, -0.02])
def test_spikes_planted_jump_fires_in_its_bar_once(move: float) -> None:
    found = spikes(features(planted(made(), 200, move=move)))
    assert found.schema == SIGNALS
    onsets = found.filter("onset")
    assert onsets["bucket"].to_list() == [START + timedelta(minutes=200)]
    assert onsets["direction"].to_list() == ["up" if move > 0 else "down"]
    assert onsets["move"].item() == pytest.approx(move, abs=0.004)
    assert "price" in onsets["reasons"].item() and "volume" in onsets["reasons"].item()


@pytest.mark.parametrize("quality", ["gap", "partial"])
def test_spikes_bar_of_bad_quality_never_fires_nor_makes_the_next_fire(quality: str) -> None:
    assert spikes(features(planted(made(), 200, quality=quality))).is_empty()


def test_spikes_jump_without_volume_or_volume_without_jump_do_not_fire() -> None:
    assert spikes(features(planted(made(), 200, move=0.01, volume=1))).is_empty()
    assert spikes(features(planted(made(), 200, move=0.0))).is_empty()


@pytest.mark.parametrize(("move", "fires"), [(0.01, False), (0.04, True)])
def test_spikes_share_fires_without_volume_from_twenty_deviations_on(move: float, fires: bool) -> None:
    judged = features(planted(made(), 200, move=move, volume=1)).collect()
    deviations = judged["move_score"][200:205].exp().max() - 1  # type: ignore[operator]
    assert (deviations >= 20) == fires and deviations > 5  # type: ignore[operator]
    found = spikes(judged)
    assert found.filter("onset")["bucket"].to_list() == [START + timedelta(minutes=200)] * fires


def test_spikes_future_fires_on_a_large_move_without_volume() -> None:
    found = spikes(features(planted(made(key="NSE_FO|53001"), 200, volume=1)))
    assert found.filter("onset")["bucket"].to_list() == [START + timedelta(minutes=200)]
    assert spikes(features(planted(made(key="NSE_FO|53001"), 200, move=0.0))).is_empty()


def test_spikes_before_the_warm_up_stay_silent() -> None:
    assert spikes(features(planted(made(), 20))).is_empty()


def test_features_windows_do_not_reach_over_a_gap_or_a_night() -> None:
    gap = planted(made(), 100, quality="gap")
    night = made(seed=2, start=START + timedelta(days=1))
    whole = features(pl.concat([gap, night])).collect()
    for first, last in ((0, 100), (101, 375), (375, 750)):
        alone = features(whole[first:last].select(gap.columns)).collect()
        for name in ("sma_20", "ema_50", "rsi_14", "atr_14", "bollinger_upper", "volume_ratio_20", "close_zscore_20"):
            assert whole[name][first:last].equals(alone[name], null_equal=True), name
    assert whole["sma_20"][101:120].null_count() == 19 and whole["sma_20"][100] is None


def test_features_of_many_instruments_equal_one_by_one_lazy_and_eager() -> None:
    parts = [planted(made(key=f"NSE_EQ|{seed}", seed=seed), 150 + seed) for seed in range(3)]
    together = features(pl.concat(parts)).collect()
    alone = pl.concat([features(part.lazy()).collect() for part in parts])
    assert together.drop("run").equals(alone.drop("run"), null_equal=True)


def test_features_each_equals_its_indicator_over_the_run() -> None:
    bars = pl.concat(
        [planted(made(key=f"NSE_FO|{seed}", seed=seed), 100 + 50 * seed, quality="gap") for seed in range(3)]
    ).with_columns(oi=pl.col("volume").cum_sum() % 977, iv=0.2 + pl.col("close") % 0.01)
    lower, middle, upper = ta.bollinger("close")
    whole = features(bars, extended=True).collect()
    masked = pl.col("quality") != "gap"
    extended = {
        "macd": ta.macd("close")[0],
        "macd_signal": ta.macd("close")[1],
        "macd_histogram": ta.macd("close")[2],
        "obv": ta.obv(),
        "mfi_14": ta.mfi(),
        "stochastic_k": ta.stochastic()[0],
        "stochastic_d": ta.stochastic()[1],
        "adx_14": ta.adx(),
        "plus_di_14": ta.plus_di(),
        "minus_di_14": ta.minus_di(),
        "supertrend": ta.supertrend()[0],
        "supertrend_rising": ta.supertrend()[1],
        **dict(zip(("keltner_lower", "keltner_middle", "keltner_upper"), ta.keltner(), strict=True)),
        **dict(zip(("donchian_lower", "donchian_middle", "donchian_upper"), ta.donchian(), strict=True)),
        "cci_20": ta.cci(),
        "williams_r_14": ta.williams_r(),
        **dict(zip((f"heikin_{x}" for x in ("open", "high", "low", "close")), ta.heikin_ashi(), strict=True)),
    }
    expected = whole.with_columns(pl.when(masked).then(expr.over(RUN)).alias(name) for name, expr in extended.items())
    expected = expected.with_columns(iv_rank=pl.when(masked).then(ta.rank("iv", 1_875, 375).over("instrument_key")))
    assert expected["iv_rank"].null_count() < expected.height
    expected = expected.with_columns(
        expr.over(RUN).alias(name)
        for name, expr in {
            **{f"sma_{n}": ta.sma("close", n) for n in (20, 50, 200)},
            **{f"ema_{n}": ta.ema("close", n) for n in (20, 50, 200)},
            "rsi_14": ta.rsi("close"),
            "true_range": ta.true_range(),
            "atr_14": ta.atr(),
            "roc_10": ta.roc("close", 10),
            "momentum_10": ta.momentum("close", 10),
            "bollinger_lower": lower,
            "bollinger_middle": middle,
            "bollinger_upper": upper,
            "volume_ratio_20": ta.volume_ratio(),
            "volume_zscore_20": ta.zscore("volume", 20),
            "close_zscore_20": ta.zscore("close", 20),
            "close_robust_zscore_20": ta.robust_zscore("close", 20),
            "iv_change": ta.change("iv"),
            "oi_change": ta.change("oi"),
            "build_up": ta.build_up(ta.change("close"), ta.change("oi")),
        }.items()
    ).with_columns(
        vwap=pl.when(pl.col("quality") != "gap").then(ta.vwap().over("instrument_key", pl.col("bucket").dt.date()))
    )
    pl.testing.assert_frame_equal(whole, expected, check_exact=True)


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_bar_without_a_price_ends_the_run_like_a_gap(unknown: float | None) -> None:
    at = pl.int_range(pl.len()) == 100
    holed = made().with_columns(pl.when(at).then(pl.lit(unknown)).otherwise("high").alias("high"))
    whole = features(holed, extended=True).collect()
    of_gap = pl.when(at).then(pl.lit("gap")).otherwise("quality").alias("quality")
    gap = features(made().with_columns(of_gap), extended=True).collect()
    columns = [name for name in whole.columns if name not in {*holed.columns, "rising", "vwap"}]
    pl.testing.assert_frame_equal(whole[columns], gap[columns], check_exact=True)


def test_features_of_bars_with_prices_only_leave_the_rest_null() -> None:
    bars = made()
    whole, prices = features(bars).collect(), features(bars.drop("volume", "quality")).collect()
    assert prices["volume_ratio_20"].null_count() == prices["volume_score"].null_count() == prices.height
    same = ["sma_20", "rsi_14", "close_robust_zscore_20", "move_score"]
    assert prices.select(same).equals(whole.select(same), null_equal=True)


def test_features_never_look_ahead() -> None:
    bars = planted(made(), 200)
    whole = features(bars).collect()
    until = features(bars.head(240)).collect()
    assert whole.head(240).equals(until, null_equal=True)


def test_spikes_of_reliance_known_days_stand_out_and_openings_are_quiet() -> None:
    bars = pl.read_parquet(data_file("nse-reliance-5m.parquet")).sort("bucket")
    bars = bars.rename({"instrument": "instrument_key"}).with_columns(instrument_key=pl.lit(RELIANCE))
    found = spikes(features(bars)).with_columns(
        day=pl.col("bucket").dt.date().cast(pl.String), at_open=pl.col("bucket").dt.time() < pl.time(4, 15)
    )
    days, openings = found["day"].unique(), found.filter("at_open")["day"].unique()
    assert set(KNOWN_DAYS) <= set(days)
    assert {"2026-01-06", "2026-01-19"} <= set(openings)
    assert len(days) <= 10 and len(openings) <= 8  # of 69
    best = found.group_by("day").agg(pl.col("score").max()).sort("score", descending=True)["day"].to_list()
    assert "2026-01-06" in best[:2] and {*KNOWN_DAYS} <= set(best[:6])


def test_rules_from_toml_change_what_they_name_and_reject_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('name = "mine"\nconfidence_min = 0.9\n[equity]\nprice = 2.0\n[windows]\nspike_bars = 3\n')
    found = load_rules(path)
    assert (found.name, found.confidence_min, found.equity.price, found.windows.spike_bars) == ("mine", 0.9, 2.0, 3)
    assert (found.equity.confirm, found.index) == (DEFAULT.equity.confirm, DEFAULT.index)
    for text, message in {
        "[equity]\nprise = 2.0\n": r"equity\.prise",
        "[equity]\nprice = -1\n": r"equity\.price",
        "[option]\nsupport = { vega = 1.0 }\n": "factor 'vega' is none of",
        "[option]\nconfirm = [{ iv = -1.0 }]\n": "weight -1 of iv is negative",
    }.items():
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_rules(path)


def test_rules_of_one_set_of_weights_for_all_classes_are_still_understood(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('name = "older"\nbias = -12.0\n[weights]\nprice = 2.0\niv = 1.5\n')
    found = load_rules(path)
    assert found.other.bias == -12.0 and found.option.bias == pytest.approx(-5.7)
    for name in CLASSES:
        own = found.of_class(name)
        assert (own.price, own.confirm, own.support) == (
            2.0,
            ({"volume": 1.69, "trades": 1.06}, {"iv": 1.5}),
            {"oi": 0.3},
        )
    path.write_text("[weights]\nprise = 2.0\n")
    with pytest.raises(ConfigError, match=r"prise"):
        load_rules(path)
