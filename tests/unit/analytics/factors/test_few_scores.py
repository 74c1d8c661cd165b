"""Scores of a few bars are those of a history."""

from __future__ import annotations

import polars.testing

from analytics.factors.factors import QUANTITIES, factors
from analytics.factors.few_scores import FewScores
from tests.unit.analytics.signals.test_live_detection import RULES, market


def test_scores_of_few_bars_are_exactly_those_of_all() -> None:
    judged = factors(market(days=5, minutes=40).lazy(), RULES.windows, 1).collect()
    names = [f"{name}_score" for name in QUANTITIES]
    known = {name for name in names if judged[name].count()}
    assert {"volume_score", "move_score", "iv_score", "oi_score", "day_score", "gamma_score", "hedged_score"} <= known
    assert judged["move_score"].null_count() > 0
    for rows in (judged.height, 3, 0):
        part = judged.tail(rows)
        polars.testing.assert_frame_equal(FewScores(RULES.windows).of(part.drop(names)), part, check_exact=True)
