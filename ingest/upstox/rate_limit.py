"""Limit how often the vendor's REST API is called. Pure; the caller supplies the clock and waits.

The vendor allows 50 requests a second, 500 a minute and 2,000 in half an hour, per user and API, and
answers 429 above that without saying when to try again. Each process has one limiter.
"""

from __future__ import annotations

from collections import deque

# Requests, seconds. A tenth below the documented limits: other programs of the same user also send requests.
VENDOR_LIMITS = ((45, 1.0), (450, 60.0), (1_800, 1_800.0))


class Limiter:
    """Assign the times at which requests may be sent.

    Parameters
    ----------
    limits
        Pairs of a number of requests and a number of seconds.

    Examples
    --------
    >>> limiter = Limiter([(2, 1.0)])
    >>> [limiter.reserve(10.0) for _ in range(5)]
    [0.0, 0.0, 1.0, 1.0, 2.0]
    """

    def __init__(self, limits: tuple[tuple[int, float], ...] | list[tuple[int, float]] = VENDOR_LIMITS) -> None:
        self._limits = tuple(limits)
        self._reserved: deque[float] = deque(maxlen=max(count for count, _ in self._limits))

    def reserve(self, now_s: float) -> float:
        """Reserve the next free time; return how long to wait for it, seconds."""
        at = max(now_s, self._reserved[-1]) if self._reserved else now_s
        for count, seconds in self._limits:
            if len(self._reserved) >= count:
                at = max(at, self._reserved[-count] + seconds)
        self._reserved.append(at)
        return at - now_s
