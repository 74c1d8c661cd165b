"""What judging a history shows: rates, the null, what followed, and differences to baselines. Pure.

Owns which figures there are. Days are the blocks of every bootstrap, because alarms of one day have a common cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from analytics.evaluation import walk_forward
from analytics.evaluation.baselines import BASELINES
from analytics.evaluation.classes import CLASS
from analytics.evaluation.detector import Detector, matched, onsets
from analytics.evaluation.forward import HORIZONS, MEASURES, after, against_matched
from analytics.evaluation.history import DAY, EARLIER, interval
from analytics.evaluation.intervals import Floats, bootstrap, compared, share
from analytics.evaluation.planted_events.truth import judge_truth
from analytics.evaluation.shuffled import days_shuffled, minutes_shuffled
from analytics.evaluation.user_labels import judge_labels
from analytics.schema import KEY

NULLS = {"minutes": minutes_shuffled, "days": days_shuffled}
LOOK_AHEAD_TIMES = 3  # days and minutes at which a score is asked for without what came later
COMPARED_HORIZON = 15
INSTRUMENTS_MAX = 20  # in the table, those with the most alarms


@dataclass(frozen=True, slots=True)
class Settings:
    """How a history is judged: days before the first judged one, draws of each null, seed."""

    days_min: int = walk_forward.DAYS_MIN
    draws: int = 5
    seed: int = 1


def judge_history(
    bars: pl.DataFrame,
    detector: Detector,
    settings: Settings = Settings(),
    step: walk_forward.Step = lambda done, total: None,
    *,
    labels: pl.DataFrame | None = None,
    truth: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """Judge a detector on a history without labels, walking forward, next to the baselines.

    Parameters
    ----------
    bars
        From `history.read_history`.
    step
        Told how many days of how many have been scored.
    labels
        What a person said: instrument_key, bucket, verdict; see `user_labels`.
    truth
        Of planted spikes, from `planted_events.truth.read_truth`.

    Returns
    -------
    dict
        Ready for JSON: days, look_ahead, detectors (each with threshold, alarms, classes and followed), null,
        instruments, differences to each baseline, labels and planted (None without any).
    """
    days = walk_forward.judged_days(bars, settings.days_min)
    rng = np.random.default_rng(settings.seed)
    # A single day has no other day's volume, and an index has none at all.
    has_null = bars.filter(pl.col("volume").is_not_null() & (pl.col(EARLIER) > 0)).height > 0
    kinds = [kind for kind in NULLS for _ in range(settings.draws)] if has_null else []
    total = len(days) * (1 + len(kinds) + len(BASELINES))
    versions = [NULLS[kind](bars, rng) for kind in kinds]
    scored, *shuffled = walk_forward.walk(
        bars, detector, settings.days_min, versions, lambda done, _: step(done, total)
    )
    there = bars.filter(pl.col(EARLIER) >= settings.days_min).select(KEY, DAY, CLASS).unique().sort(KEY, DAY)
    alarms = {detector.name: scored.filter("onset")}
    thresholds: dict[str, float | None] = {detector.name: None}
    done_before = len(days) * (1 + len(kinds))
    for baseline in BASELINES:
        [marks] = walk_forward.walk(bars, baseline, settings.days_min)
        done_before += len(days)
        step(done_before, total)
        limit = _matched_limit(marks, alarms[detector.name].height)
        usual, same = f"{baseline.name} from {baseline.usual:g}", f"{baseline.name}, as many alarms"
        alarms |= {usual: marks.filter("onset"), same: onsets(marks, limit)}
        thresholds |= {usual: baseline.usual, same: limit if np.isfinite(limit) else None}
    followed = after(bars.join(pl.concat(alarms.values()).select(KEY).unique(), on=KEY, how="semi"), interval(bars))
    outcomes = {name: against_matched(some, followed) for name, some in alarms.items()}
    classes = dict(there.select(KEY, CLASS).iter_rows())
    nulls = {
        kind: [one for one, of in zip(shuffled, kinds, strict=True) if of == kind] for kind in dict.fromkeys(kinds)
    }
    return {
        "detector": detector.name,
        "bars": bars.height,
        "instruments": there[KEY].n_unique(),
        "interval_minutes": interval(bars) / timedelta(minutes=1),
        "days": {"all": bars[DAY].n_unique(), "judged": len(days), "first": str(days[0]), "last": str(days[-1])},
        "look_ahead": _look_ahead(bars, detector, settings, rng),
        "classes": _per_class(there, scored.filter("onset"), nulls, days),
        "detectors": {
            name: {"threshold": thresholds[name]} | _figures(some, there.height, days, classes)
            for name, some in outcomes.items()
        },
        "differences": {
            name: _difference(outcomes[detector.name], some, days)
            for name, some in outcomes.items()
            if name != detector.name
        },
        "instruments_judged": _per_instrument(there, scored.filter("onset"), nulls, days),
        "labels": None if labels is None else judge_labels(alarms, detector.name, labels, there),
        "planted": None if truth is None else judge_truth(alarms[detector.name], truth, there.height),
        "draws": settings.draws if kinds else 0,
    }


def _matched_limit(marks: pl.DataFrame, number: int) -> float:
    """Return the threshold of a baseline at which it has as many alarms: chosen afterwards, to its advantage."""
    return matched(marks["score"], lambda at: onsets(marks, at).height, number)


def _look_ahead(bars: pl.DataFrame, detector: Detector, settings: Settings, rng: np.random.Generator) -> dict[str, int]:
    """Return how many scores change when later minutes are not there, at random times."""
    days = walk_forward.judged_days(bars, settings.days_min)
    chosen = {days[at] for at in rng.integers(0, len(days), LOOK_AHEAD_TIMES)}
    differing = checked = 0
    for day in sorted(chosen):
        own = detector.fit(bars.filter(pl.col(DAY) < day))
        one = walk_forward.JudgedDay(
            day, settings.days_min, own, walk_forward.context_of(bars, day, detector.context_days)
        )
        times = one.bars.filter(pl.col(DAY) == day)["bucket"].unique().sort()
        until = times[int(rng.integers(len(times) // 4, max(3 * len(times) // 4, 1)))]
        differing += walk_forward.look_ahead(one, until)
        checked += one.scored(one.bars).filter(pl.col("bucket") <= until).height
    return {"checked": checked, "different": differing}


def _by_day(rows: pl.DataFrame, days: list[date], *columns: pl.Expr) -> Floats:
    """Return sums of columns for each judged day, 0 where there is no row."""
    sums = rows.group_by(DAY).agg(columns)
    names = sums.columns[1:]
    every = pl.DataFrame({DAY: days}).join(sums, on=DAY, how="left", maintain_order="left")
    return every.select(pl.col(names).fill_null(0).cast(pl.Float64)).to_numpy()


def _rates(
    there: pl.DataFrame, onset: pl.DataFrame, nulls: dict[str, list[pl.DataFrame]], days: list[date]
) -> dict[str, Any]:
    """Return alarms an instrument-day, and their ratio to those of each null."""
    blocks = [_by_day(onset, days, pl.len().alias("alarms")), _by_day(there, days, pl.len().alias("days"))]
    for versions in nulls.values():
        found = pl.concat([one.filter("onset") for one in versions]).join(
            there.select(KEY).unique(), on=KEY, how="semi"
        )
        blocks.append(_by_day(found, days, pl.len().alias("alarms")) / len(versions))
    sums = np.hstack(blocks)
    found_all: dict[str, Any] = {
        "instruments": there[KEY].n_unique(),
        "instrument_days": there.height,
        "alarms": onset.height,
        "per_day": bootstrap(sums, lambda s: s[:, 0] / s[:, 1]).as_dict(),
    }
    for column, kind in enumerate(nulls, start=2):

        def times(s: Floats, column: int = column) -> Floats:
            return np.asarray(s[:, 0] / s[:, column])

        found_all[f"null_{kind}"] = {
            "per_day": bootstrap(sums, lambda s, column=column: s[:, column] / s[:, 1]).as_dict(),  # type: ignore[misc]
            "ratio": bootstrap(sums, times).as_dict(),
        }
    return found_all


def _per_class(
    there: pl.DataFrame, onset: pl.DataFrame, nulls: dict[str, list[pl.DataFrame]], days: list[date]
) -> dict[str, Any]:
    found = {}
    for name in there[CLASS].unique().sort():
        of_class = there.filter(pl.col(CLASS) == name)
        found[name] = _rates(of_class, onset.join(of_class.select(KEY).unique(), on=KEY, how="semi"), nulls, days)
    return found


def _per_instrument(
    there: pl.DataFrame, onset: pl.DataFrame, nulls: dict[str, list[pl.DataFrame]], days: list[date]
) -> list[dict[str, Any]]:
    """Return the rates of the instruments with the most alarms."""
    most = (
        there.group_by(KEY)
        .agg(pl.col(CLASS).first())
        .join(onset.group_by(KEY).len("alarms"), on=KEY, how="left")
        .sort(pl.col("alarms").fill_null(0), KEY, descending=[True, False])
        .head(INSTRUMENTS_MAX)
    )
    return [
        {"instrument_key": key, "class": of}
        | _rates(there.filter(pl.col(KEY) == key), onset.filter(pl.col(KEY) == key), nulls, days)
        for key, of in most.select(KEY, CLASS).iter_rows()
    ]


def _figures(outcomes: pl.DataFrame, instrument_days: int, days: list[date], classes: dict[str, str]) -> dict[str, Any]:
    """Return what followed the alarms of a detector, of all and of each class."""
    found = _followed(outcomes, days) | {"per_day": outcomes.height / instrument_days}
    of = outcomes.with_columns(pl.col(KEY).replace_strict(classes, return_dtype=pl.String).alias(CLASS))
    found["classes"] = {
        name: _followed(of.filter(pl.col(CLASS) == name), days) for name in sorted(set(classes.values()))
    }
    return found


def _followed(outcomes: pl.DataFrame, days: list[date]) -> dict[str, Any]:
    matched_ones = outcomes.filter(pl.col("others") > 0)
    found: dict[str, Any] = {
        "alarms": outcomes.height,
        "matched": matched_ones.height,
        "matched_minutes": matched_ones["others"].median(),
    }
    for horizon in HORIZONS:
        of: dict[str, Any] = {}
        for measure in MEASURES:
            name = f"{measure}_{horizon}"
            sums = _by_day(outcomes, days, pl.col(name).sum(), pl.col(name).count().alias("count"))
            of[f"{measure}_ratio"] = bootstrap(sums, lambda s: np.exp(s[:, 0] / s[:, 1])).as_dict()
            of[f"{measure}_alarms"] = int(sums[:, 1].sum())
        for name in ("large", "right"):
            hits = outcomes[f"{name}_{horizon}"].drop_nulls()
            of[f"{name}_share"] = share(int(hits.sum()), len(hits)).as_dict()
            of[f"{name}_alarms"] = len(hits)
        found[str(horizon)] = of
    return found


def _difference(mine: pl.DataFrame, other: pl.DataFrame, days: list[date]) -> dict[str, Any]:
    """Return whether more followed the alarms of a detector than those of another, drawn day by day together."""
    found = {}
    for name in ("range", "volume", "large", "right"):
        column = pl.col(f"{name}_{COMPARED_HORIZON}").cast(pl.Float64)
        sums = np.hstack([_by_day(one, days, column.sum(), column.count().alias("count")) for one in (mine, other)])
        found[name] = compared(sums, lambda s: s[:, 0] / s[:, 1], lambda s: s[:, 2] / s[:, 3])
    return found
