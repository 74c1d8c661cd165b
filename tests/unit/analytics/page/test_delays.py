"""The delay to the database, from two answers of the metrics."""

from __future__ import annotations

import pytest

from analytics.page.delays import committed_within, quantile_ms

TEXT = """# TYPE tickline_received_to_committed_seconds histogram
tickline_received_to_committed_seconds_bucket{connection="1",le="0.01"} 3.0
tickline_received_to_committed_seconds_bucket{connection="1",le="+Inf"} 4.0
tickline_received_to_committed_seconds_bucket{connection="2",le="0.01"} 5.0
tickline_received_to_committed_seconds_bucket{connection="2",le="+Inf"} 5.0
tickline_received_to_committed_seconds_count{connection="1"} 4.0
tickline_received_to_committed_seconds_sum{connection="1"} 1.0
# TYPE other histogram
other_bucket{le="0.01"} 7.0
"""


def test_connections_are_added_up() -> None:
    assert committed_within(TEXT) == {0.01: 8.0, float("inf"): 9.0}
    assert committed_within("") == {}


@pytest.mark.parametrize(
    ("before", "now", "share", "expected"),
    [
        ({}, {}, 0.5, None),
        ({0.01: 5.0, 0.02: 5.0}, {0.01: 5.0, 0.02: 5.0}, 0.5, None),  # nothing came
        ({0.01: 5.0, 0.02: 9.0}, {0.01: 1.0, 0.02: 10.0}, 0.5, None),  # began again
        ({0.01: 5.0, 0.02: 5.0}, {0.01: 15.0, 0.02: 25.0}, 0.5, 10.0),
        ({0.01: 5.0, 0.02: 5.0}, {0.01: 15.0, 0.02: 25.0}, 0.25, 5.0),
        ({}, {0.01: 0.0, float("inf"): 4.0}, 0.99, 10.0),  # at least
    ],
)
def test_quantile_is_that_of_the_time_between(
    before: dict[float, float], now: dict[float, float], share: float, expected: float | None
) -> None:
    assert quantile_ms(before, now, share) == expected
