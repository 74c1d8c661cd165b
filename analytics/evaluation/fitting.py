"""Fit the weights of rules to labelled events, and calibrate their scores. Pure.

Owns the regressions. Must not know how the result is judged or printed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from analytics.evaluation.labelled import AFTERMATH, EARLY, alarms_of
from analytics.factors.factors import factors
from analytics.schema import KEY
from analytics.signals.detection import log_odds
from analytics.signals.rules import Rules

Floats = npt.NDArray[np.float64]
FACTORS = ("volume_score", "trades_score", "move_score")
RIDGE = 5.0  # on standardised scores; 1 and 5 give the same curve on the training events


def scored(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return all bars with their factors and log-odds in column score."""
    return _with_score(factors(events.lazy(), rules.windows).collect(engine="in-memory"), rules)


def _with_score(bars: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return bars with their factors and log-odds in column score."""
    return bars.with_columns(score=log_odds(rules, set(bars.columns)))


def fit(bars: pl.DataFrame, rules: Rules) -> Rules:
    """Return rules with weights fitted to labelled bars by ridge logistic regression.

    Parameters
    ----------
    bars
        Bars from `scored`. Those from 2 minutes before to 1 after an announcement are positive, and each
        event counts once; those outside of hits and aftermath are negative. Only bars with a volume score
        above log 2 are used, because no other bar can be a spike.
    """
    known = bars.with_columns(trades_score=pl.coalesce("trades_score", "volume_score")).filter(
        pl.all_horizontal(pl.col(FACTORS).is_not_null()) & (pl.col("volume_score") > np.log(2))
    )
    minute = known["minute"].to_numpy()
    positive = (minute >= -2) & (minute <= 1)
    known = known.with_columns(positive=positive).filter(positive | (minute < EARLY) | (minute > AFTERMATH))
    weight = known.select(pl.when("positive").then(1 / pl.len().over(KEY, "positive")).otherwise(1.0)).to_series()
    x = known.select(FACTORS).to_numpy()
    centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-12
    beta = logistic((x - centre) / spread, known["positive"].to_numpy().astype(float), weight.to_numpy(), RIDGE)
    volume, trades, price = (float(value) for value in beta[1:] / spread)
    bias = float(beta[0] - (beta[1:] * centre / spread).sum())
    confirm = ({"volume": volume, "trades": trades}, *rules.other.confirm[1:])
    fitted = rules.other.model_copy(update={"bias": bias, "price": price, "confirm": confirm})
    return rules.model_copy(update={"other": fitted})


def cross_validated(bars: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return the bars with the score each has under weights fitted on all other events."""
    parts = []
    for event in bars[KEY].unique(maintain_order=True):
        others, own = bars.filter(pl.col(KEY) != event), bars.filter(pl.col(KEY) == event)
        parts.append(_with_score(own, fit(others, rules)))
    return pl.concat(parts)


def calibration(bars: pl.DataFrame) -> tuple[float, float]:
    """Return slope and shift that convert cross-validated scores to log-odds of a right alarm.

    Uses Platt scaling with its prior, which keeps few and well separated alarms from looking certain: J. Platt,
    Probabilistic outputs for support vector machines, 1999. There are too few events for a freer (isotonic) curve,
    which would be 0 below the gap between wrong and right alarms and 1 above it.
    """
    alarms = alarms_of(bars)
    right = alarms["right"].to_numpy()
    positive, negative = int(right.sum()), int((~right).sum())
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    beta = logistic(alarms["score"].to_numpy()[:, None], target, np.ones(len(target)), 0.0)
    return float(beta[1]), float(beta[0])


def calibrated(unseen: pl.DataFrame) -> pl.DataFrame:
    """Return cross-validated bars with scores as log-odds, calibrated for each event by the alarms of the others."""
    parts = []
    for event in unseen[KEY].unique(maintain_order=True):
        slope, shift = calibration(unseen.filter(pl.col(KEY) != event))
        parts.append(unseen.filter(pl.col(KEY) == event).with_columns(pl.col("score") * slope + shift))
    return pl.concat(parts)


def logistic(x: Floats, y: Floats, weight: Floats, ridge: float) -> Floats:
    """Return intercept and coefficients of a weighted ridge logistic regression, by Newton's method."""
    design = np.column_stack([np.ones(len(x)), x])
    penalty = np.diag([0.0, *[2 * ridge] * x.shape[1]])
    beta = np.zeros(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight * (p - y)) + penalty @ beta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + penalty + 1e-9 * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        beta = beta - step * min(1.0, 5.0 / float(np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(beta, dtype=np.float64)
