"""Fit the weights of a class to the history of its instruments, and say whether they are better. Pure.

Owns the regression, what may have a weight, and the proof on held-out days: weights are fitted on the first days and
compared with the old ones on the last, of which they have seen nothing. Only then are they fitted on all days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analytics.evaluation.classes import CLASS
from analytics.evaluation.fitting import Floats, logistic
from analytics.evaluation.history import DAY
from analytics.evaluation.intervals import compared
from analytics.evaluation.own_weights.target import with_target
from analytics.factors.factors import QUANTITIES, factors
from analytics.schema import KEY
from analytics.signals.calibration import rarity_line
from analytics.signals.detection import class_log_odds, confirmation, log_odds
from analytics.signals.rules import ClassRules, InstrumentClass, Rules

DAYS_MIN = 20
HELD_OUT = 0.3  # of the days, the last
TOP = 0.2  # of a day's scored bars, the highest: they are compared
BARS_MIN = 300  # of a class that could fire
RIDGE = 5.0
Step = Callable[[int, int], None]  # done, total


@dataclass(frozen=True, slots=True)
class FittedClass:
    """Weights of a class and what they rest on.

    Attributes
    ----------
    weights
        None: not enough days or bars, or not better on the held-out days; reason says which.
    held_out
        Share of the highest-scored bars of held-out days that were followed by a large range: new less old, with its
        interval and verdict; None if it was not tried.
    """

    name: InstrumentClass
    days: int
    instruments: int
    bars: int
    weights: ClassRules | None
    reason: str
    held_out: dict[str, Any] | None = None


def fit_class(bars: pl.DataFrame, rules: Rules, name: InstrumentClass, labels: pl.DataFrame | None) -> FittedClass:
    """Fit the weights of one class.

    Parameters
    ----------
    bars
        Of the instruments of the class, from `history.read_history`.
    labels
        instrument_key, bucket and verdict.
    """
    days = bars[DAY].unique().sort()
    counts = (len(days), bars[KEY].n_unique())
    if len(days) < DAYS_MIN:
        return FittedClass(name, *counts, 0, None, f"{len(days)} days, and {DAYS_MIN} are needed")
    scored = _scored(bars, rules, name)
    held = days.tail(max(round(len(days) * HELD_OUT), 1))
    first = days.filter(~days.is_in(held.implode()))
    known = with_target(scored, bars, first, labels)
    if known.height < BARS_MIN:
        return FittedClass(name, *counts, known.height, None, f"{known.height} bars could fire, {BARS_MIN} are needed")
    own = _with(rules, name, _fitted(known.filter(pl.col(DAY).is_in(first.implode())), rules.of_class(name)))
    unseen = known.filter(pl.col(DAY).is_in(held.implode()))
    held_out = _compared(unseen, own, name)
    if held_out["verdict"] != "better":
        return FittedClass(name, *counts, known.height, None, "not better on the held-out days", held_out)
    whole = _with(rules, name, _fitted(with_target(scored, bars, days, labels), rules.of_class(name)))
    judged = scored.filter(pl.col("move_usual").is_not_null())
    weights = _calibrated(judged, whole, name, judged.select(KEY, DAY).n_unique(), rules.of_class(name).early)
    return FittedClass(name, *counts, known.height, weights, "better on the held-out days", held_out)


def _with(rules: Rules, name: InstrumentClass, weights: ClassRules) -> Rules:
    """Return rules with the weights of a class."""
    return rules.model_copy(update={name: weights})


def fit_all(
    bars: pl.DataFrame, rules: Rules, labels: pl.DataFrame | None = None, step: Step = lambda done, total: None
) -> list[FittedClass]:
    """Fit the weights of each class that the bars have."""
    names: list[InstrumentClass] = sorted(bars[CLASS].unique())
    found = []
    for number, name in enumerate(names):
        step(number, len(names))
        found.append(fit_class(bars.filter(pl.col(CLASS) == name), rules, name, labels))
    step(len(names), len(names))
    return found


def monotone_logistic(x: Floats, y: Floats, weight: Floats, ridge: float = RIDGE) -> Floats:
    """Return intercept and coefficients of a logistic regression on standardised columns, none of them negative.

    Columns whose coefficient would be negative are left out, the most negative first, until none is.
    """
    centre, spread = x.mean(axis=0), x.std(axis=0)
    kept = np.flatnonzero(spread > 0)
    beta = np.zeros(1 + x.shape[1])
    while True:
        z = (x[:, kept] - centre[kept]) / spread[kept]
        found = logistic(z, y, weight, ridge)
        if not len(kept) or found[1:].min() >= 0:
            break
        kept = np.delete(kept, int(found[1:].argmin()))
    beta[1 + kept] = found[1:] / spread[kept]
    beta[0] = found[0] - float((found[1:] * centre[kept] / spread[kept]).sum())
    return beta


def _scored(bars: pl.DataFrame, rules: Rules, name: InstrumentClass) -> pl.DataFrame:
    """Return the bars that could fire with old (log-odds by the rules), confirm, and the scores."""
    features = factors(bars.lazy(), rules.windows)
    known = set(features.collect_schema().names())
    scores = [f"{one}_score" for one in QUANTITIES if f"{one}_score" in known]
    return (
        features.with_columns(old=log_odds(rules, known), confirm=confirmation(rules, name, known))
        .filter(pl.col("old").is_not_null())
        .select(KEY, "bucket", DAY, "old", "confirm", *scores, "move_usual", "move_count")
        .collect()
    )


def _supports(rules: ClassRules) -> list[str]:
    """Return the factors that may have a weight of their own: all that do not confirm."""
    confirming = {one for weights in rules.confirm for one in weights}
    return [one for one in QUANTITIES if one != "move" and one not in confirming]


def _matrix(known: pl.DataFrame, rules: ClassRules) -> Floats:
    """Return the columns of the regression: move, what confirms (as weighted so far), and each support."""
    names = [f"{one}_score" for one in _supports(rules)]
    return known.select("move_score", "confirm", *(pl.col(one).fill_null(0.0) for one in names)).to_numpy()


def _fitted(known: pl.DataFrame, old: ClassRules) -> ClassRules:
    """Return weights fitted to the target."""
    beta = monotone_logistic(
        _matrix(known, old), known["target"].cast(pl.Float64).to_numpy(), known["weight"].to_numpy()
    )
    return _weighed(old, [float(value) for value in beta])


def _weighed(old: ClassRules, beta: list[float]) -> ClassRules:
    """Return rules with coefficients in place of their weights."""
    bias, price, confirm, *supports = beta
    named: Mapping[str, float] = dict(zip(_supports(old), supports, strict=True))
    return ClassRules(
        bias=bias,
        price=price,
        confirm=tuple({one: weight * confirm for one, weight in weights.items()} for weights in old.confirm),
        alone_from=old.alone_from,
        support={one: weight for one, weight in named.items() if weight > 0},
    )


def _compared(unseen: pl.DataFrame, own: Rules, name: InstrumentClass) -> dict[str, Any]:
    """Return how many of the highest scores of each held-out day were followed by a large range: new less old."""
    judged = unseen.with_columns(new=class_log_odds(own, name, set(unseen.columns)))
    blocks = []
    for _, day in judged.group_by(DAY, maintain_order=True):
        count = max(round(day.height * TOP), 1)
        highest = [day.sort(by, descending=True).head(count)["target"].sum() for by in ("new", "old")]
        blocks.append([*highest, count])
    sums = np.array(blocks, dtype=np.float64)
    return compared(sums, lambda total: total[:, 0] / total[:, 2], lambda total: total[:, 1] / total[:, 2])


def _calibrated(
    scored: pl.DataFrame, own: Rules, name: InstrumentClass, instrument_days: int, early: float
) -> ClassRules:
    """Return weights whose log-odds say how rare an alarm was in this history, as the built-in ones do."""
    raw = scored.select(KEY, "bucket", raw=class_log_odds(own, name, set(scored.columns))).drop_nulls()
    slope, shift = rarity_line(raw, instrument_days, own)
    weights = own.of_class(name)
    return ClassRules(
        bias=slope * weights.bias + shift,
        price=slope * weights.price,
        confirm=tuple({one: slope * value for one, value in factors.items()} for factors in weights.confirm),
        alone_from=weights.alone_from,
        support={one: slope * value for one, value in weights.support.items()},
        early=early,
    )
