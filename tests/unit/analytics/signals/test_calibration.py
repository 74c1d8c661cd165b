"""How rare scores are, and how many events a day a budget gives: markets without events, seeded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.factors.factors import factors
from analytics.market_time import market_day
from analytics.signals.calibration import Calibration, calibrate
from analytics.signals.detection import fire
from analytics.signals.earlier_days import Scored
from analytics.signals.events import EventBuilder, with_events
from analytics.signals.rules import DEFAULT, Rules, rules

MINUTES, MONDAY = 375, datetime(2026, 1, 5, 3, 45, tzinfo=UTC)


def quiet_market(instruments: int, days: int, seed: int = 7) -> pl.DataFrame:
    """Minute bars with heavy tails and a daily shape of volume and moves, and no events."""
    rng = np.random.default_rng(seed)
    shape = 1 + 1.5 * np.exp(-np.arange(MINUTES) / 30) + 0.8 * np.exp(-np.arange(MINUTES)[::-1] / 40)
    size = (instruments, days, MINUTES)
    activity = np.exp(rng.normal(0, 0.6, size))
    returns = rng.standard_t(4, size) / np.sqrt(2) * 0.0005 * np.sqrt(shape * activity)
    flat = np.cumsum(returns.reshape(instruments, -1), axis=1)
    close = 500 * np.exp(flat)
    before = np.concatenate([np.full((instruments, 1), 500.0), close[:, :-1]], axis=1)
    wick = np.abs(rng.normal(0, 0.00015, (2, instruments, days * MINUTES)))
    day = pl.datetime_range(MONDAY, MONDAY + timedelta(minutes=MINUTES - 1), "1m", time_unit="us", eager=True)
    buckets = pl.concat([day.dt.offset_by(f"{number}d") for number in range(days)])
    return pl.DataFrame(
        {
            "instrument_key": np.repeat([f"NSE_EQ|{number:04}" for number in range(instruments)], days * MINUTES),
            "bucket": pl.concat([buckets] * instruments),
            "open": before.ravel(),
            "high": (np.maximum(before, close) * (1 + wick[0])).ravel(),
            "low": (np.minimum(before, close) * (1 - wick[1])).ravel(),
            "close": close.ravel(),
            "volume": rng.poisson(1000 * shape * activity).ravel() + 1,
        }
    )


@pytest.fixture(scope="module")
def judged() -> Scored:
    return Scored.of(factors(quiet_market(60, 7).lazy(), DEFAULT.windows, 1), DEFAULT)


def events_of(scored: Scored, wanted: Rules, calibration: Calibration, day: datetime) -> int:
    fired = with_events(fire(scored.candidates, wanted, calibration), EventBuilder(wanted))
    return int(fired.filter(pl.col("bucket") >= day)["onset"].sum())


def test_budget_gives_about_as_many_events_as_wanted_on_the_days_that_follow(judged: Scored) -> None:
    wanted = rules(signals_per_day=10, confidence_min=0.0)
    counts = []
    for number in (5, 6):
        day = MONDAY + timedelta(days=number)
        calibration = judged.calibration(market_day(day), wanted)
        assert calibration.days == number - 3  # the first three have no usual values
        of_day = Scored(judged.candidates.filter(pl.col("bucket") < day + timedelta(days=1)), judged.judged)
        counts.append(events_of(of_day, wanted, calibration, day))
    # Two days of a Poisson number of 10 each, and a threshold out of 20 to 30 events: 20 +- 4 sd of 5.5.
    assert 8 <= sum(counts) <= 42


def test_budget_is_a_limit_and_never_lowers_the_confidence(judged: Scored) -> None:
    day = MONDAY + timedelta(days=6)
    few, many = (judged.calibration(market_day(day), rules(signals_per_day=wanted)) for wanted in (1, 100_000))
    assert few.confidence_min > DEFAULT.confidence_min and many.confidence_min == 0.0
    assert few.lines == many.lines
    unlimited = events_of(judged, DEFAULT, judged.calibration(market_day(day), DEFAULT), day)
    assert events_of(judged, DEFAULT, few, day) <= unlimited == events_of(judged, DEFAULT, many, day)


def test_calibration_of_a_day_does_not_see_the_day_or_later_ones(judged: Scored) -> None:
    day = MONDAY + timedelta(days=5)
    until = Scored(
        judged.candidates.filter(pl.col("bucket") < day),
        judged.judged.filter(pl.col("_day") < (market_day(day) - market_day(datetime(1970, 1, 1, tzinfo=UTC))).days),
    )
    wanted = rules(signals_per_day=10)
    assert judged.calibration(market_day(day), wanted) == until.calibration(market_day(day), wanted)


def test_confidence_says_how_rare_an_alarm_is_whatever_the_market() -> None:
    """Two markets whose scores fall off at different rates; the same confidence is as rare in both."""
    rng = np.random.default_rng(1)
    days, number = 10, 100
    rare = {}
    for slope in (0.7, 2.0):
        # Alarms far apart, with an exponential tail from 2 a day and instrument on.
        count = 2 * days * number
        minute = np.arange(count) * 90
        scored = pl.DataFrame(
            {
                "instrument_key": "NSE_EQ|1",
                "bucket": [MONDAY + timedelta(minutes=int(one)) for one in minute],
                "raw": rng.exponential(1 / slope, count) - 1.0,
                "instrument_class": "equity",
                "event_key": "NSE_EQ|1",
            }
        )
        found = calibrate(scored, {"equity": days * number}, days, DEFAULT)
        odds = scored.select(found.log_odds("raw", "instrument_class")).to_series()
        rare[slope] = [float((odds >= level).sum()) / (days * number) for level in (-1.0, 0.0, 1.0)]
    for found_rates in rare.values():
        # events_per_day times exp(-log-odds) alarms of an instrument and day, by definition.
        expected = [DEFAULT.events_per_day * np.exp(-level) for level in (-1.0, 0.0, 1.0)]
        assert found_rates == pytest.approx(expected, rel=0.4)


def test_without_earlier_days_the_rules_assume() -> None:
    calibration = calibrate(pl.DataFrame(), {}, 0, rules(signals_per_day=1))
    assert calibration == Calibration() and calibration.confidence_min == 0.0
