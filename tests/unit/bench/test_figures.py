from __future__ import annotations

import pytest

from ingest.bench.figures import Spread, columns_of


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([1200.0, 1000.0, 1100.0], 0, "1,100 (1,000..1,200)"),
        ([2.5], 1, "2.5"),
        ([1.04, 1.01], 1, "1.0"),  # as shown, they do not differ
        ([1.0, 2.0], 1, "1.5 (1.0..2.0)"),
    ],
)
def test_spread_shows_the_median_and_a_range_that_can_be_seen(values: list[float], digits: int, text: str) -> None:
    assert Spread.of(values).text(digits) == text


def test_columns_have_their_headings() -> None:
    assert columns_of([{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]) == [["a", "1", "3"], ["b", "2", "4"]]
    assert columns_of([]) == []
