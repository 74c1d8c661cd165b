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
def judged() -> pl.DataFrame:
    return factors(quiet_market(60, 7).lazy(), DEFAULT.windows, 1).collect()


def scored_until(judged: pl.DataFrame, day: datetime, until: datetime | None = None) -> Scored:
    """Return a day, whole or up to a time, and the days before it."""
    end = day + timedelta(days=1) if until is None else until
    return Scored.of(judged.lazy().filter(pl.col("bucket") < end), DEFAULT, market_day(day))


def events_of(scored: Scored, wanted: Rules, calibration: Calibration, day: datetime) -> int:
    fired = with_events(fire(scored.candidates, wanted, calibration), EventBuilder(wanted))
    return int(fired.filter(pl.col("bucket") >= day)["onset"].sum())


def test_budget_gives_about_as_many_events_as_wanted_on_the_days_that_follow(judged: pl.DataFrame) -> None:
    wanted = rules(signals_per_day=10, confidence_min=0.0)
    counts = []
    for number in (5, 6):
        day = MONDAY + timedelta(days=number)
        scored = scored_until(judged, day)
        calibration = scored.calibration(wanted)
        assert calibration.days == number - 3  # the first three have no usual values
        counts.append(events_of(scored, wanted, calibration, day))
    # Two days of a Poisson number of 10 each, and a threshold out of 20 to 30 events: 20 +- 4 sd of 5.5.
    assert 8 <= sum(counts) <= 42


def test_budget_is_a_limit_and_never_lowers_the_confidence(judged: pl.DataFrame) -> None:
    day = MONDAY + timedelta(days=6)
    scored = scored_until(judged, day)
    few, many = (scored.calibration(rules(signals_per_day=wanted)) for wanted in (1, 100_000))
    assert few.confidence_min > DEFAULT.confidence_min and many.confidence_min == 0.0
    assert few.tails == many.tails
    unlimited = events_of(scored, DEFAULT, scored.calibration(DEFAULT), day)
    assert events_of(scored, DEFAULT, few, day) <= unlimited == events_of(scored, DEFAULT, many, day)


def test_calibration_of_a_day_does_not_see_the_day_or_later_ones(judged: pl.DataFrame) -> None:
    day = MONDAY + timedelta(days=5)
    wanted = rules(signals_per_day=10)
    before, noon, later = (
        scored_until(judged, day, until).calibration(wanted)
        for until in (day, day + timedelta(hours=3), day + timedelta(days=2))
    )
    assert before == noon == later and before.tails


def test_earlier_day_is_compared_with_as_many_days_as_the_judged_one(judged: pl.DataFrame) -> None:
    """What is usual on an earlier day is the median of all other days before the judged one."""
    day = MONDAY + timedelta(days=6)
    found = scored_until(judged, day).candidates
    minutes = judged.with_columns(day=pl.col("bucket").dt.date(), at=pl.col("bucket").dt.time())
    for key, bucket, usual in found.select("instrument_key", "bucket", "move_usual").sample(40, seed=1).iter_rows():
        same = minutes.filter(
            (pl.col("instrument_key") == key)
            & (pl.col("at") == bucket.time())
            & (pl.col("day") < day.date())
            & (pl.col("day") != bucket.date())
        )
        assert same.height == (6 if bucket >= day else 5)
        assert usual == pytest.approx(same["move_x"].median())


TAILS = {  # of the scores of alarms, from which twice a day and instrument some are reached
    "slow": lambda rng, count: rng.exponential(1 / 0.7, count),
    "fast": lambda rng, count: rng.exponential(1 / 2.0, count),
    "thinner than exponential": lambda rng, count: 1.5 * rng.weibull(2.0, count),
    "heavier than exponential": lambda rng, count: 0.5 * rng.weibull(0.6, count),
}


@pytest.mark.parametrize("name", TAILS)
def test_confidence_says_how_rare_an_alarm_is_whatever_the_market(name: str) -> None:
    days, number = 10, 200
    count = 2 * days * number
    scored = pl.DataFrame(
        {
            "instrument_key": "NSE_EQ|1",
            # Far apart: each is an alarm of its own.
            "bucket": [MONDAY + timedelta(minutes=90 * one) for one in range(count)],
            "raw": TAILS[name](np.random.default_rng(1), count) - 1.0,
            "instrument_class": "equity",
            "event_key": "NSE_EQ|1",
        }
    )
    found = calibrate(scored, {"equity": days * number}, days, DEFAULT)
    odds = found.log_odds(scored)
    levels = (-1.0, 0.0, 1.0, 2.0)
    rates = [float((odds >= level).sum()) / (days * number) for level in levels]
    # events_per_day times exp(-log-odds) alarms of an instrument and day, by definition; the rarest are 27.
    assert rates == pytest.approx([DEFAULT.events_per_day * np.exp(-level) for level in levels], rel=0.3)


def test_without_earlier_days_the_rules_assume() -> None:
    calibration = calibrate(pl.DataFrame(), {}, 0, rules(signals_per_day=1))
    assert calibration == Calibration() and calibration.confidence_min == 0.0
