"""Durations: how long something took, counted in buckets, as histograms of metrics need them. Pure data.

A part that does something adds to its own; whoever watches reads them. One thread adds, any thread reads.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

# Upper bounds, seconds: a commit of a few rows takes a millisecond, a disk that is busy half a second, and what the
# database's absence delays takes minutes.
BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Durations:
    """Durations in buckets.

    Attributes
    ----------
    counts
        Number in each bucket: up to each of `BOUNDS_S` (including it), and above the last; not cumulative.
    total_s
        Sum, seconds.
    """

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; one below zero, as after a step of the clock, counts as zero."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def add_all(self, seconds: NDArray[np.float64]) -> None:
        """Count an array of durations; NaN is left out."""
        known = np.maximum(seconds[~np.isnan(seconds)], 0.0)
        found = np.bincount(np.searchsorted(BOUNDS_S, known), minlength=len(self.counts))
        self.counts = [before + fresh for before, fresh in zip(self.counts, found.tolist(), strict=True)]
        self.total_s += float(known.sum())
