"""Confidence intervals of shares, rates and differences. Pure.

Owns the statistics: Wilson's interval for a share, and a bootstrap over blocks (days or events) for everything else,
in which two detectors are drawn together so that their difference has an interval of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

Z_90, Z_95 = 1.645, 1.96
DRAWS = 2_000  # of a bootstrap: the ends of a 95 % interval then rest on 50 draws each
BLOCKS_MIN = 5  # with fewer days or events, drawing them again says nothing


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval; None: not defined, unbounded, or too few blocks for an interval."""

    value: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return the fields by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


def wilson(hits: float, count: float, z: float = Z_95) -> tuple[float, float]:
    """Return the confidence interval of a share observed in `count` cases: E. B. Wilson, 1927."""
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(max(middle - reach, 0.0)), float(min(middle + reach, 1.0))


def share(hits: float, count: float) -> Interval:
    """Return a share with Wilson's 95 % interval; all None if there are no cases."""
    return Interval(None, None, None) if not count else Interval(hits / count, *wilson(hits, count))


def totals(blocks: Floats, seed: int, draws: int = DRAWS) -> Floats:
    """Return the sums over blocks that were drawn again.

    Parameters
    ----------
    blocks
        One row for each day or event, one column for each count.
    seed
        The same seed draws the same blocks, so that two detectors are compared on the same draws.

    Returns
    -------
    numpy.ndarray
        draws + 1 rows; the first has the sums over the blocks themselves.
    """
    rng = np.random.default_rng(seed)
    count = len(blocks)
    times = rng.multinomial(count, np.full(count, 1 / count), size=draws) if count else np.zeros((draws, 0))
    return np.vstack([blocks.sum(axis=0), times @ blocks])


def bootstrap(blocks: Floats, statistic: Statistic, seed: int = 1) -> Interval:
    """Return a statistic of sums over blocks, with its percentile interval.

    Parameters
    ----------
    blocks
        One row for each day or event, one column for each count.
    statistic
        Makes figures of sums: from an array of sums, draws along the first axis, an array of figures. NaN where it is
        undefined, as the precision without an alarm.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = np.asarray(statistic(totals(blocks, seed)), dtype=np.float64)
    drawn = np.sort(figures[1:][~np.isnan(figures[1:])])
    if len(blocks) < BLOCKS_MIN or np.isnan(figures[0]) or len(drawn) < DRAWS // 2:
        return Interval(_finite(figures[0]), None, None)
    low, high = drawn[int(0.025 * len(drawn))], drawn[int(np.ceil(0.975 * len(drawn))) - 1]
    return Interval(_finite(figures[0]), _finite(low), _finite(high))


def _finite(value: np.float64) -> float | None:
    """Return a figure; None for one that is unbounded or not defined."""
    return float(value) if np.isfinite(value) else None


def verdict(difference: Interval, *, more_is_better: bool = True) -> str:
    """Return what a difference to a baseline shows: better, worse, or no difference shown."""
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return "no difference shown"
    return "better" if (difference.low > 0) == more_is_better else "worse"


def compared(blocks: Floats, mine: Statistic, other: Statistic, *, more_is_better: bool = True) -> dict[str, Any]:
    """Return the difference of two statistics of the same blocks, its interval and the verdict."""
    difference = bootstrap(blocks, lambda sums: mine(sums) - other(sums))
    return difference.as_dict() | {"verdict": verdict(difference, more_is_better=more_is_better)}
