"""The pace of requests: never more than the vendor allows, and no later than need be."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from ingest.upstox import rate_limit as limiter
from ingest.upstox.rate_limit import VENDOR_LIMITS, Limiter


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.sampled_from([((3, 1.0), (10, 20.0)), ((1, 0.5),)]))
def test_reservations_keep_every_limit_and_their_order(
    steps: list[float], limits: tuple[tuple[int, float], ...]
) -> None:
    given_limiter, now, times = Limiter(limits), 0.0, list[float]()
    for step in steps:
        now += step
        times.append(now + given_limiter.reserve(now))
        assert times[-1] >= now
    assert times == sorted(times)
    for count, seconds in limits:
        for first, beyond in zip(times, times[count:], strict=False):
            assert beyond - first >= seconds - 1e-9


def test_first_requests_do_not_wait_and_a_long_pause_forgets() -> None:
    count, seconds = VENDOR_LIMITS[0]
    given_limiter = Limiter(VENDOR_LIMITS)
    assert [given_limiter.reserve(5.0) for _ in range(count)] == [0.0] * count
    assert given_limiter.reserve(5.0) == seconds
    assert given_limiter.reserve(5.0 + 2 * VENDOR_LIMITS[-1][1]) == 0.0


def test_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(limiter).failed == 0
