"""Scores of a few bars at once: the same as `factors.scores`, in a fraction of the time. Pure.

Owns the arrangement: the quantities of the bars are one long column, so that the formula is computed once and not once
for each of them: of few rows, preparing an expression takes longer than computing it, and fourteen times the formula
took four milliseconds. Of many rows it would need more memory. Must not know the formula.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from analytics.factors.excess import Excess, compared, is_judged, least_deviation, log_excess
from analytics.factors.factors import CONTEXT, PARTS, QUANTITIES
from analytics.factors.windowed import computed
from analytics.factors.windows import Windows

LONG = ("x", "scale", "first", "second", "count")


class FewScores:
    """Adds NAME_score of all quantities to bars; see `factors.scores`.

    The expressions are made once: that takes as long as computing them.
    """

    def __init__(self, windows: Windows) -> None:
        self._columns = [
            part.cast(pl.Int64() if title == "count" else pl.Float64()).alias(f"{title} {name}")
            for name, (x, scale) in compared(QUANTITIES).items()
            for title, part in zip(LONG, (x, scale, *map(pl.col, self._averages(name))), strict=True)
        ]
        self._least = [least_deviation(name, windows) for name in QUANTITIES]
        self._judged = is_judged().alias("judged")
        count, first, second = (pl.col(name) for name in ("count", "first", "second"))
        self._means = pl.when("summed").then(pl.col("first", "second") / count).otherwise(pl.col("first", "second"))
        excess = Excess(pl.col("x"), pl.col("scale"), first, second, count, pl.col("least"))
        self._score = pl.when(pl.col("judged") & (count >= windows.warmup_bars)).then(log_excess(excess, windows))

    def of(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return bars with the scores."""
        wide = computed(bars.lazy().select(*self._columns, self._judged))
        long = pl.DataFrame(
            {
                title: wide.select(f"{title} {name}" for name in QUANTITIES).unpivot(value_name=title)[title]
                for title in LONG
            }
            | {
                "judged": pl.concat([wide["judged"]] * len(QUANTITIES)),
                "least": np.repeat(self._least, bars.height),
                "summed": np.repeat([name in CONTEXT for name in QUANTITIES], bars.height),
            }
        )
        score = computed(long.lazy().with_columns(self._means).select(score=self._score))["score"]
        return bars.with_columns(
            score.slice(at * bars.height, bars.height).alias(f"{name}_score") for at, name in enumerate(QUANTITIES)
        )

    @staticmethod
    def _averages(name: str) -> list[str]:
        """Return the names of both averages of a quantity, and of its count."""
        return [f"{name}_{part}" for part in PARTS[name]]
