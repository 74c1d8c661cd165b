"""How often alarms of each confidence are right. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from analytics.evaluation.intervals import Z_90, wilson
from analytics.evaluation.labelled import alarms_of


def reliability(bars: pl.DataFrame, edges: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.9)) -> dict[str, Any]:
    """Return how often alarms of each range of confidence are right.

    Alarms count down to a confidence of 0.7 %, far below any threshold, so that some are wrong; each counts with its
    highest confidence.

    Returns
    -------
    dict
        brier (mean squared error of the confidence), brier_of_base_rate (the same if the confidence were always the
        share of right alarms), and bins: from, to, confidence (mean), right (share), alarms (number), and right_from,
        right_to, the 90 % range of the share for this number of alarms (Wilson's interval).
    """
    alarms = alarms_of(bars).with_columns(confidence=1 / (1 + (-pl.col("score")).exp()))
    bounds = (0.0, *edges, 1.0)
    bins = []
    for lowest, highest in pairwise(bounds):
        some = alarms.filter((pl.col("confidence") > lowest) & (pl.col("confidence") <= highest))
        if some.height:
            mean = some.select(pl.col("confidence", "right").mean()).row(0, named=True)
            least, most = wilson(mean["right"] * some.height, some.height, Z_90)
            bounded = {"right_from": least, "right_to": most}
            bins.append({"from": lowest, "to": highest} | mean | {"alarms": some.height} | bounded)
    base = alarms["right"].mean()
    errors = alarms.select(
        brier=((pl.col("confidence") - pl.col("right")) ** 2).mean(),
        brier_of_base_rate=((base - pl.col("right").cast(pl.Float64)) ** 2).mean(),
    )
    return errors.row(0, named=True) | {"bins": bins}
