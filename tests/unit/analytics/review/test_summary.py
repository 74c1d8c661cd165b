"""What counts as held, its intervals, and which signals are the best and the worst."""

from __future__ import annotations

import pytest

from analytics.review.summary import best_and_worst, summary
from tests.unit.analytics.review.reports import made_report, signal, signals


def test_held_is_a_move_in_the_direction_and_no_move_is_not() -> None:
    found = signals(
        signal(1, "up", (0.02, 0.0, None)),
        signal(2, "down", (-0.01, 0.0, None)),
        signal(3, "down", (0.04, None, None), verdict="wrong"),
        signal(4, "up", (None, -0.01, None), verdict="right"),
    )
    [equity, total] = summary(found).to_dicts()
    assert (equity["class"], total["class"]) == ("equity", "all")
    assert equity | {"class": "all"} == total
    assert (total["signals"], total["right"], total["wrong"]) == (4, 1, 1)
    assert (total["known_5m"], total["known_15m"], total["known_60m"]) == (3, 3, 0)
    assert total["held_5m"] == pytest.approx(2 / 3) and total["held_15m"] == 0
    # Wilson, 2 of 3 at 95 %, from his formula with 1.96.
    assert (total["held_5m_low"], total["held_5m_high"]) == (
        pytest.approx(0.2077, abs=1e-4),
        pytest.approx(0.9385, abs=1e-4),
    )
    assert total["median_5m"] == pytest.approx(0.01) and total["median_15m"] == 0
    assert (total["held_60m"], total["held_60m_low"], total["median_60m"]) == (None, None, None)


def test_summary_has_classes_and_rule_sets_that_there_are() -> None:
    rows = summary(made_report().signals)
    assert rows["class"].to_list() == ["equity", "option", "all"]
    several = signals(signal(1, "up", (None,) * 3), signal(1, "up", (None,) * 3, rule_set="mine"))
    assert summary(several).select("rule_set", "class", "signals").rows() == [
        ("default-1", "equity", 1), ("default-1", "all", 1), ("mine", "equity", 1), ("mine", "all", 1),
    ]  # fmt: skip
    assert summary(several.clear()).is_empty()


def test_best_and_worst_share_no_signal_and_take_an_event_once() -> None:
    found = signals(
        signal(1, "up", (0.5, 0.01, None)),
        signal(1, "up", (0.5, 0.01, None), rule_set="mine"),
        signal(2, "down", (0.0, -0.03, None)),
        signal(3, "up", (-0.02, None, None)),
        signal(4, "up", (None, None, None)),
    )
    best, worst = best_and_worst(found, 6)
    assert (best["instrument_id"].to_list(), worst["instrument_id"].to_list()) == ([2, 1], [3])
    best, worst = best_and_worst(found, 1)
    assert (best["instrument_id"].to_list(), worst["instrument_id"].to_list()) == ([2], [3])
