"""How long ticks take from their receipt to the database, from what `/metrics` counts. Pure.

The metrics count since the start; what a trader wants is the last seconds, so two answers are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

NAME = "tickline_received_to_committed_seconds"
Buckets = dict[float, float]  # upper bound, seconds -> ticks up to it, of all connections


def committed_within(text: str) -> Buckets:
    """Return the buckets of the histogram in an answer of `/metrics`; empty if it has none.

    Raises
    ------
    ValueError
        If the text is not in the exposition format of Prometheus.
    """
    found: Buckets = {}
    for family in text_string_to_metric_families(text):
        if family.name == NAME:
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    bound = float(sample.labels["le"])
                    found[bound] = found.get(bound, 0.0) + sample.value
    return found


def quantile_ms(before: Mapping[float, float], now: Mapping[float, float], share: float) -> float | None:
    """Return what share of the ticks between two answers took at most, milliseconds; None: there were none.

    As Prometheus does, a value is taken to be spread evenly within its bucket. After a restart, when the counts began
    again, there is none.

    Examples
    --------
    >>> quantile_ms({0.01: 10.0, 0.02: 10.0}, {0.01: 20.0, 0.02: 30.0}, 0.75)
    15.0
    """
    bounds = sorted(now)
    counts = [now[bound] - before.get(bound, 0.0) for bound in bounds]
    if not counts or counts[-1] <= 0 or counts[0] < 0 or any(later < earlier for earlier, later in pairwise(counts)):
        return None
    wanted = share * counts[-1]
    lower, below = 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= wanted:
            if bound == float("inf"):
                return 1000 * lower  # at least
            return round(1000 * (lower + (bound - lower) * (wanted - below) / (count - below or 1.0)), 3)
        lower, below = bound, count
    return None
