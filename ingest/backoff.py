"""When to try again. Pure: the caller brings the randomness and does the waiting."""

from __future__ import annotations

import random


def backoff_s(attempt: int, rng: random.Random, *, first_s: float, max_s: float) -> float:
    """Seconds to wait before a try: doubling, capped, with jitter.

    Parameters
    ----------
    attempt
        Failures in a row so far, from 1.
    rng
        Source of the jitter: the wait is between half and all of the capped value, so that
        many clients that failed together do not come back together.
    first_s, max_s
        The wait after the first failure, and the longest.
    """
    assert attempt >= 1
    # 2**30 seconds is past every cap; a larger exponent would only overflow.
    capped = min(max_s, first_s * 2.0 ** min(attempt - 1, 30))
    return capped * (0.5 + rng.random() / 2)
