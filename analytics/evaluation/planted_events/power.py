"""The power of a detector: which share of planted events it finds, by size, at a fixed rate of false alarms. Pure.

Owns the experiment. A made-up market without events gives the false alarms and with them the threshold; then each
instrument gets one event of known kind and size on the last day, and the detector, fitted on the days before, is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from analytics.evaluation import walk_forward
from analytics.evaluation.detector import Detector, Fitted, matched, onsets
from analytics.evaluation.history import DAY, EARLIER, read_history
from analytics.evaluation.intervals import Interval, share, wilson
from analytics.evaluation.planted_events.events import KINDS, Event
from analytics.evaluation.planted_events.market import MINUTES, Market
from analytics.schema import KEY

SIZES = (3.0, 5.0, 8.0, 12.0, 20.0, 40.0)  # deviations of a usual minute; of volume the multiple
DAYS_BEFORE, DAYS_QUIET = 5, 5  # without events: to learn what is usual, and to find the threshold
FIRST_MINUTE, LAST_MINUTE = 45, 345  # of an event: a detector is warm, and has time to find it
WITHIN = timedelta(minutes=5)  # an alarm this soon after an event begins has found it


@dataclass(frozen=True, slots=True)
class Settings:
    """How power is measured.

    Attributes
    ----------
    instruments
        Of each class: the number of events of each kind and size.
    rate
        False alarms an instrument and day at which events are looked for.
    """

    instruments: int = 40
    rate: float = 0.1
    sizes: tuple[float, ...] = SIZES
    seed: int = 1


def cells(kind: str, settings: Settings) -> int:
    """Return how many steps the measurement of a class has."""
    return 2 + len(KINDS[kind]) * len(settings.sizes)


def power_of(
    detector: Detector,
    kind: str,
    settings: Settings = Settings(),
    step: walk_forward.Step = lambda done, total: None,
) -> dict[str, Any]:
    """Measure which share of planted events of a class a detector finds.

    Parameters
    ----------
    kind
        equity, index, future or option.
    step
        Told how many steps of how many are done.

    Returns
    -------
    dict
        Ready for JSON: instruments; threshold (of the score; None if nothing has one) and false_alarms (an instrument
        and day, of days without events that the threshold has not seen, with Wilson's interval); own_false_alarms, the
        same at the detector's own threshold; and cells: kind, size, the median of the natural units, events, found and
        found_by_own_threshold (shares with Wilson's 95 % interval).
    """
    market = Market(kind, settings.instruments, seed=settings.seed)
    before = read_history(market.quiet_days(DAYS_BEFORE + DAYS_QUIET))
    total = cells(kind, settings)
    [quiet] = walk_forward.walk(before, detector, DAYS_BEFORE)
    number = round(settings.rate * settings.instruments * DAYS_QUIET)
    limit = matched(quiet["score"], lambda at: onsets(quiet, at).height, number)
    step(1, total)
    fitted = detector.fit(before)
    context = before.filter(pl.col(DAY) >= market.today - timedelta(days=detector.context_days))
    calm = _judged(fitted, context, market.day()[0])
    step(2, total)
    found = []
    rng = np.random.default_rng((settings.seed, 17))
    for what in KINDS[kind]:
        for size in settings.sizes:
            events = _events(rng, settings.instruments, what, size)
            day, truth = market.day(events)
            found.append(_cell(_judged(fitted, context, day), truth, limit) | {"kind": what, "size": size})
            step(2 + len(found), total)
    own = pl.concat([quiet, calm.select(quiet.columns)]).filter("onset").height
    days = settings.instruments * (DAYS_QUIET + 1)
    return {
        "instruments": settings.instruments,
        "rate": settings.rate,
        "threshold": float(limit) if np.isfinite(limit) else None,
        "false_alarms": _rate(onsets(calm, limit).height, settings.instruments).as_dict(),
        "own_false_alarms": _rate(own, days).as_dict(),
        "cells": found,
    }


def _events(rng: np.random.Generator, instruments: int, kind: str, size: float) -> list[Event]:
    """Return one event of each instrument, at a random minute and in a random direction."""
    minutes = rng.integers(FIRST_MINUTE, min(LAST_MINUTE, MINUTES), instruments)
    ways = rng.choice([-1, 1], instruments)
    return [Event(row, int(minutes[row]), kind, size, int(ways[row])) for row in range(instruments)]


def _judged(fitted: Fitted, context: pl.DataFrame, day: pl.DataFrame) -> pl.DataFrame:
    """Return the scores of a day after its context."""
    bars = read_history(pl.concat([context.drop(DAY, EARLIER), day], how="diagonal_relaxed"))
    scored = fitted.scored(bars).with_columns(bars[DAY])
    return scored.filter(pl.col(DAY) == pl.col(DAY).max())


def _cell(scored: pl.DataFrame, truth: pl.DataFrame, limit: float) -> dict[str, Any]:
    """Return how many events of one kind and size were found."""
    near = scored.join(truth.select(KEY, begins="bucket"), on=KEY).filter(
        (pl.col("bucket") >= pl.col("begins")) & (pl.col("bucket") < pl.col("begins") + WITHIN)
    )
    found = near.filter(pl.col("score") >= limit)[KEY].n_unique()
    own = near.filter("onset")[KEY].n_unique()
    natural = truth.select(pl.col("move", "volume_multiple", "iv_points", "oi_change").abs().median()).row(
        0, named=True
    )
    return {
        "events": truth.height,
        "found": share(found, truth.height).as_dict(),
        "found_by_own_threshold": share(own, truth.height).as_dict(),
        "natural": natural,
    }


def _rate(alarms: int, days: int) -> Interval:
    """Return alarms an instrument and day; an instrument has at most a few, so Wilson's interval nearly holds."""
    return Interval(alarms / days, *wilson(min(alarms, days), days))
