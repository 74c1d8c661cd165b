"""Judge alarms by what a person said of them: right, wrong, or a spike that was missed. Pure.

Most labels were given to signals of some rules, so they say little of alarms that those rules never gave: the shares
are of labelled minutes only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from analytics.evaluation.history import DAY
from analytics.evaluation.intervals import Floats, compared, share
from analytics.evaluation.labelled import EARLY, LATE
from analytics.market_time import MARKET_OFFSET
from analytics.schema import KEY

VERDICTS = ("right", "wrong", "missed")


def judge_labels(
    alarms: dict[str, pl.DataFrame], own: str, labels: pl.DataFrame, there: pl.DataFrame
) -> dict[str, Any] | None:
    """Return how detectors do on a person's labels; None if no judged day has one.

    Parameters
    ----------
    alarms
        instrument_key and bucket of the onsets of each detector.
    own
        Name of the detector that the others are compared with.
    labels
        instrument_key, bucket and verdict (`VERDICTS`).
    there
        instrument_key and day of what was judged.

    Returns
    -------
    dict
        labels (number of each verdict); and for each detector found (of real spikes, right or missed), right (of its
        alarms at labelled minutes), with Wilson's intervals, and for the others the difference of the two, drawn label
        by label.
    """
    known = labels.with_columns((pl.col("bucket") + MARKET_OFFSET).dt.date().alias(DAY))
    known = known.join(there.select(KEY, DAY).unique(), on=[KEY, DAY], how="semi").sort(KEY, "bucket")
    if known.is_empty():
        return None
    is_real = (known["verdict"] != "wrong").to_numpy()
    counts = {name: _counts(onset, known, is_real) for name, onset in alarms.items()}
    found: dict[str, Any] = {}
    for name, of in counts.items():
        hits, wrong = of.sum(axis=0)
        found[name] = {
            "found": share(hits, int(is_real.sum())).as_dict(),
            "right": share(hits, hits + wrong).as_dict(),
        }
        if name != own:
            both = np.hstack([counts[own], of, is_real[:, None].astype(np.float64)])
            found[name]["difference"] = {
                "found": compared(both, lambda s: s[:, 0] / s[:, 4], lambda s: s[:, 2] / s[:, 4]),
                "right": compared(
                    both, lambda s: s[:, 0] / (s[:, 0] + s[:, 1]), lambda s: s[:, 2] / (s[:, 2] + s[:, 3])
                ),
            }
    return {"labels": {one: int((known["verdict"] == one).sum()) for one in VERDICTS}, "detectors": found}


def _counts(onset: pl.DataFrame, known: pl.DataFrame, is_real: np.ndarray) -> Floats:
    """Return for each label whether an alarm is near it: in the first column for real spikes, otherwise the second."""
    away = (pl.col("alarm") - pl.col("bucket")).dt.total_minutes()
    near = (
        known.with_row_index("label")
        .join(onset.select(KEY, alarm="bucket"), on=KEY)
        .filter(away.is_between(EARLY, LATE))["label"]
        .unique()
        .to_numpy()
    )
    fired = np.zeros(known.height)
    fired[near] = 1
    return np.stack([fired * is_real, fired * ~is_real], axis=1)
