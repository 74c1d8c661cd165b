"""Compute the delay before a retry. Pure: the caller supplies the random numbers and waits."""

from __future__ import annotations

import random


def backoff_s(attempt: int, rng: random.Random, *, first_s: float, max_s: float) -> float:
    """Return the seconds to wait before the next try: doubling, capped, with jitter.

    Parameters
    ----------
    attempt
        Failures in a row so far, from 1.
    rng
        Source of the jitter: the wait is between half and all of the capped value, so that clients that failed
        together do not retry together.
    first_s, max_s
        The wait after the first failure, and the longest wait, before jitter.
    """
    assert attempt >= 1
    # 2**30 exceeds every cap; a larger exponent would only overflow.
    capped = min(max_s, first_s * 2.0 ** min(attempt - 1, 30))
    return capped * (0.5 + rng.random() / 2)
