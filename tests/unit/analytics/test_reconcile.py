"""Reasons and errors of minutes that differ, one case each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from analytics.reconcile import REASONS, Reconciliation, judge, summarise

OPEN = datetime(2025, 12, 15, 3, 45, tzinfo=UTC)
PRICES = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5}
VOLUMES = pl.DataFrame(
    {"instrument_id": [1], "instrument_key": ["A"], "bar_volume": [90], "gap_volume": [10], "day_volume": [100]}
)


def minute(number: float, ours: dict[str, Any] | None, theirs: dict[str, Any] | None, **given: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"instrument_key": "A", "bucket": OPEN + timedelta(minutes=number), "tick_size": 0.05}
    for prefix, bar in (("", ours), ("official_", theirs)):
        for name in (*PRICES, "volume"):
            row[prefix + name] = None if bar is None else bar[name]
    return row | {"unheard": None, "auction": number < 0, "at_open": number == 0} | given


def bar(volume: int | None = 75, **given: float) -> dict[str, Any]:
    return PRICES | {"volume": volume} | given


def judged(*rows: dict[str, Any]) -> pl.DataFrame:
    schema = {name: pl.Float64 for bar in ("", "official_") for name in (bar + price for price in PRICES)}
    overrides = {"bucket": pl.Datetime("us", "UTC"), "volume": pl.Int64, "official_volume": pl.Int64}
    frame = pl.DataFrame(rows, schema_overrides=schema | overrides | {"unheard": pl.String})
    return judge(frame)


@pytest.mark.parametrize(
    ("rows", "reasons"),
    [
        ([minute(1, bar(), bar())], ["equal"]),
        ([minute(1, bar(volume=None), bar(volume=None))], ["equal"]),  # an index
        ([minute(1, bar(high=100.9), bar())], ["skipped"]),
        ([minute(1, bar(70), bar())], ["other"]),
        ([minute(1, bar(70), bar()), minute(2, bar(80), bar())], ["moved", "moved"]),
        ([minute(1, bar(70), bar()), minute(3, bar(80), bar())], ["other", "other"]),  # no neighbours
        ([minute(1, bar(70), bar()), minute(2, bar(90), bar())], ["other", "other"]),  # a third of it is left
        ([minute(1, bar(70), bar(), unheard="gap")], ["gap"]),
        ([minute(1, bar(), bar(), unheard="gap")], ["equal"]),
        ([minute(1, bar(70), None, unheard="partial")], ["partial"]),
        ([minute(1, None, bar())], ["no tick"]),
        ([minute(1, bar(), None)], ["no candle"]),
        ([minute(-7, bar(50), None), minute(0, bar(75), bar(125))], ["auction", "auction"]),
        ([minute(-7, bar(50), None), minute(0, bar(75), bar(124))], ["auction", "other"]),
    ],
)
def test_minute_gets_the_reason_that_holds(rows: list[dict[str, Any]], reasons: list[str]) -> None:
    found = judged(*rows)
    assert found["reason"].to_list() == reasons
    assert set(reasons) <= REASONS.keys()


def test_errors_are_in_ticks_and_basis_points_of_the_largest_price() -> None:
    [row] = judged(minute(1, bar(70, high=100.8, close=100.45), bar())).to_dicts()
    assert (row["price_error_ticks"], row["close_error_ticks"], row["volume_error"]) == (4.0, 1.0, -5)
    assert row["price_error_bp"] == round(0.2 / 100.5 * 10_000, 4)


def test_summary_counts_only_minutes_heard_whole_and_accounts_for_the_day() -> None:
    minutes = judged(
        minute(1, bar(), bar()), minute(3, bar(60, close=99.0), bar()), minute(5, bar(9), bar(), unheard="gap")
    )
    [row] = summarise(minutes, VOLUMES).to_dicts()
    assert (row["minutes"], row["both"], row["unheard"]) == (3, 2, 1)
    assert (row["open_equal"], row["close_equal"], row["volume_equal"], row["all_equal"]) == (1.0, 0.5, 0.5, 0.5)
    assert (row["volume_error"], row["unaccounted"]) == (0.1, 0)
    whole = Reconciliation(minutes, summarise(minutes, VOLUMES))
    assert (whole.close_share, whole.volumes_add_up) == (0.5, True)
    lost = Reconciliation(minutes, summarise(minutes, VOLUMES.with_columns(gap_volume=pl.lit(9))))
    assert not lost.volumes_add_up
