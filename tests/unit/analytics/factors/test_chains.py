"""Option chains: a planted jump of implied volatility is found, and exposures are what their definition says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import polars.testing
import pytest

from analytics.factors.chains import exposures, with_spot
from analytics.factors.factors import factors
from analytics.factors.frame import features
from analytics.signals.detection import spikes
from analytics.signals.live_detection import LiveDetector
from analytics.signals.rules import DEFAULT
from ingest.simulator.exchange.option_pricing import option_greeks, option_price, smile

START = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
SPOT, MINUTES, JUMP = "NSE_INDEX|Nifty 50", 375, 250
STRIKES = [24_800.0, 25_000.0, 25_200.0]
TERMS = pl.DataFrame(
    [
        (f"NSE_FO|{40_000 + 2 * number + (kind == 'PE')}", SPOT, kind, strike)
        for number, strike in enumerate(STRIKES)
        for kind in ("CE", "PE")
    ],
    schema=["instrument_key", "underlying_key", "instrument_type", "strike"],
    orient="row",
)
WHO = "NSE_FO|40003"  # the put in the middle


def chain(*, points: float = 0.0, seed: int = 1) -> pl.DataFrame:
    """A session of an index and its options; the implied volatility of `WHO` jumps by so many points and stays."""
    rng = np.random.default_rng(seed)
    spot = 25_000 * np.exp(np.cumsum(rng.normal(0, 0.0001, MINUTES)))
    level = 0.14 + 0.002 * np.sin(np.arange(MINUTES) / 60) + rng.normal(0, 0.0004, MINUTES)
    buckets = [START + timedelta(minutes=minute) for minute in range(MINUTES)]
    years = np.full(MINUTES, 10 / 365)
    index = {"close": spot, "volume": None, "oi": None, "iv": None, "delta": None, "gamma": None}
    parts = [pl.DataFrame({"instrument_key": SPOT, "bucket": buckets} | index)]
    for key, _, kind, strike in TERMS.iter_rows():
        strikes, sign = np.full(MINUTES, strike), np.full(MINUTES, 1.0 if kind == "CE" else -1.0)
        iv = smile(level, spot, strikes, years)
        if key == WHO:
            iv[JUMP:] += points / 100
        greeks = option_greeks(sign, spot, strikes, years, iv)
        columns = {
            "close": option_price(sign, spot, strikes, years, iv),
            "volume": rng.integers(500, 1500, MINUTES),
            "oi": 100_000 + rng.integers(-50, 60, MINUTES).cumsum() * 75,
            "iv": iv,
            "delta": greeks.delta,
            "gamma": greeks.gamma,
        }
        parts.append(pl.DataFrame({"instrument_key": key, "bucket": buckets} | columns))
    bars = pl.concat(parts, how="vertical_relaxed").sort("instrument_key", "bucket")
    before = pl.coalesce(pl.col("close").shift(1).over("instrument_key"), "close")
    return bars.with_columns(
        open=before, high=pl.max_horizontal(before, "close"), low=pl.min_horizontal(before, "close")
    )


@pytest.mark.parametrize("points", [4.0, -4.0])
def test_jump_of_implied_volatility_is_found_at_once_without_volume_and_the_reasons_say_so(points: float) -> None:
    found = spikes(features(with_spot(chain(points=points), TERMS))).filter("onset")
    assert found.select("instrument_key", "bucket").rows() == [(WHO, START + timedelta(minutes=JUMP))]
    row = found.row(0, named=True)
    assert row["direction"] == ("up" if points > 0 else "down")
    assert row["iv_score"] > row["volume_score"]
    assert "implied volatility changed by" in row["reasons"]
    changed = float(row["reasons"].partition("implied volatility changed by ")[2].split()[0])
    assert changed == pytest.approx(abs(points), abs=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_quiet_chain_raises_no_alarm(seed: int) -> None:
    assert spikes(features(with_spot(chain(seed=seed), TERMS))).is_empty()


def test_jump_of_implied_volatility_is_found_minute_by_minute_too() -> None:
    begin, until = (START + timedelta(minutes=JUMP + minutes) for minutes in (-30, 40))
    bars = chain(points=4.0).with_columns(quality=pl.lit("complete")).filter(pl.col("bucket") < until)
    whole = spikes(factors(bars.lazy(), DEFAULT.windows, 1))
    watcher = LiveDetector(DEFAULT, bars.filter(pl.col("bucket") < begin), date(2026, 1, 5))
    rest = bars.filter(pl.col("bucket") >= begin).sort("bucket", "instrument_key")
    found = pl.concat([watcher.advance(minute) for _, minute in rest.group_by("bucket", maintain_order=True)])
    assert found.height > 0
    pl.testing.assert_frame_equal(
        found.sort("instrument_key", "bucket"), whole.sort("instrument_key", "bucket"), rel_tol=1e-9
    )


def test_reasons_name_the_build_up_of_open_interest() -> None:
    row = pl.int_range(pl.len()).over("instrument_key")
    jump = (pl.col("instrument_key") == WHO) & (row >= JUMP)
    bars = chain(points=4.0).with_columns(oi=pl.col("oi") + pl.when(jump).then(40_000).otherwise(0))
    text = spikes(features(bars)).filter("onset")["reasons"].item()
    assert "open interest" in text and "long build-up" in text


def test_exposures_are_sums_over_the_chain_and_an_option_without_a_bar_counts_with_its_last() -> None:
    bars = with_spot(chain(), TERMS).collect()
    at = START + timedelta(minutes=100)
    quiet = (pl.col("instrument_key") == WHO) & (pl.col("bucket") == at)
    found = exposures(bars.filter(~quiet), TERMS).filter(pl.col("bucket") == at).collect().row(0, named=True)
    now = bars.filter(
        pl.col("bucket") == pl.when(pl.col("instrument_key") == WHO).then(at - timedelta(minutes=1)).otherwise(at)
    )
    rows = now.join(TERMS, on="instrument_key").rows(named=True)
    gamma = {row["instrument_key"]: row["gamma"] * row["oi"] * row["spot"] ** 2 / 100 for row in rows}
    signs = {row["instrument_key"]: 1 if row["instrument_type"] == "CE" else -1 for row in rows}
    oi = {kind: sum(row["oi"] for row in rows if row["instrument_type"] == kind) for kind in ("CE", "PE")}
    by_strike: dict[float, float] = {}
    for row in rows:
        by_strike[row["strike"]] = by_strike.get(row["strike"], 0.0) + gamma[row["instrument_key"]]
    assert found["options"] == 6
    assert found["delta_exposure"] == pytest.approx(sum(row["delta"] * row["oi"] for row in rows))
    assert found["gamma_exposure"] == pytest.approx(sum(gamma[key] * sign for key, sign in signs.items()))
    assert found["put_call_oi"] == pytest.approx(oi["PE"] / oi["CE"])
    assert found["gamma_strike"] == max(by_strike, key=lambda strike: by_strike[strike])


def test_gamma_that_changes_its_sign_flips_once() -> None:
    bars = with_spot(chain(), TERMS).collect()
    is_put = pl.col("instrument_key").is_in(TERMS.filter(pl.col("instrument_type") == "PE")["instrument_key"].to_list())
    late = pl.col("bucket") >= START + timedelta(minutes=JUMP)
    bars = bars.with_columns(
        oi=pl.when(is_put & late).then(pl.col("oi") * 3).when(is_put).then(pl.col("oi") // 3).otherwise("oi")
    )
    found = exposures(bars, TERMS).collect()
    assert found.filter("gamma_flips")["bucket"].to_list() == [START + timedelta(minutes=JUMP)]
