"""Minute by minute finds what history finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import polars.testing
import pytest

from analytics.factors.factors import factors
from analytics.market_time import market_day
from analytics.schema import BARS
from analytics.signals.detection import spikes
from analytics.signals.earlier_days import Scored
from analytics.signals.live_detection import LiveDetector
from analytics.signals.rules import rules

# So sensitive that there is much to compare; short memories, so that all of them are used.
RULES = rules(
    name="test",
    confidence_min=0.1,
    join_minutes=3,
    factor_min=0,
    quiet_minutes=2,
    windows={"span_bars": 100, "warmup_bars": 20, "usual_days": 4, "doubt_bars": 10},
    **{name: {"bias": -2.5} for name in ("future", "option", "index")},
)


# Implied volatility and greeks too, whether or not the database's bars have them.
COLUMNS = BARS | {
    **dict.fromkeys(("iv", "delta", "gamma", "spot", "chain_gamma"), pl.Float64()),
    "underlying_key": pl.String(),
}


def market(days: int = 6, minutes: int = 90, seed: int = 5) -> pl.DataFrame:
    """Several instruments, some of them thin, with bursts, gaps and instruments that come late."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(6):
        for day in range(days):
            if number == 5 and day < days - 1:
                continue
            start = datetime(2026, 1, 5, 3, 45, tzinfo=UTC) + timedelta(days=day)
            present = rng.random(minutes) < (0.4 if number in (1, 2) else 1.0)
            close = 100 * np.exp(np.cumsum(rng.standard_t(3, minutes) * 0.001))
            quality = np.where(rng.random(minutes) < 0.02, "gap", "complete")
            part = pl.DataFrame(
                {
                    "instrument_key": f"NSE_FO|{number}",
                    "bucket": [start + timedelta(minutes=i) for i in range(minutes)],
                    "open": close,
                    "high": close * 1.001,
                    "low": close * 0.999,
                    "close": close,
                    "volume": (rng.pareto(1.5, minutes) * 1000).astype(int),
                    "oi": rng.integers(1000, 1100, minutes) if number % 2 else None,
                    "iv": 0.2 + 0.01 * rng.standard_t(3, minutes) if number % 2 else None,
                    "delta": 0.5 if number % 2 else None,
                    "gamma": 0.001 if number % 2 else None,
                    "spot": 100 * np.exp(np.cumsum(rng.standard_t(3, minutes) * 0.001)),
                    "chain_gamma": rng.standard_normal(minutes).cumsum() if number % 2 else None,
                    "underlying_key": f"NSE_EQ|{number // 2}",
                    "source": "ticks",
                    "quality": quality,
                }
            )
            parts.append(part.filter(pl.Series(present)))
    return (
        pl.concat(parts, how="vertical_relaxed")
        .select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items())
        .sort("instrument_key", "bucket")
    )


@pytest.mark.parametrize("seen", [0, pytest.param(1, marks=pytest.mark.soak), 40])
def test_watcher_minute_by_minute_equals_history_wherever_it_begins(seen: int) -> None:
    bars = market()
    last_day = bars["bucket"].max().replace(hour=3, minute=45)  # type: ignore[union-attr]
    begin = last_day + timedelta(minutes=seen)
    judged = factors(bars.lazy(), RULES.windows, 1)
    calibration = Scored.of(judged, RULES, market_day(last_day)).calibration(RULES)
    assert calibration.days == 2 and {"future", "option"} <= set(calibration.tails)
    whole = spikes(judged, RULES, calibration).filter(pl.col("bucket") >= begin)
    watcher = LiveDetector(RULES, bars.filter(pl.col("bucket") < begin), market_day(last_day))
    assert watcher.calibration == calibration  # the minutes of the day say nothing of it
    days = bars.filter(pl.col("bucket") >= begin).sort("bucket", "instrument_key")
    found = pl.concat([watcher.advance(minute) for _, minute in days.group_by("bucket", maintain_order=True)])
    assert whole.height > 50 and 0 < whole["onset"].sum() < whole.height
    order = ["instrument_key", "bucket"]
    found = found.unique(order, keep="last")  # a leader comes again when its event has grown
    pl.testing.assert_frame_equal(found.sort(order), whole.sort(order), rel_tol=1e-9)


def test_watcher_refuses_a_minute_twice() -> None:
    bars = market(days=1)
    first = bars.filter(pl.col("bucket") == pl.col("bucket").min())
    watcher = LiveDetector(RULES, pl.DataFrame(schema=COLUMNS), market_day(first["bucket"][0]))
    watcher.advance(first)
    with pytest.raises(ValueError, match="next minute"):
        watcher.advance(first)
