"""A report made by hand: signals of two classes, one of them with members, notes that look like markup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from analytics.review.labels import LABELS
from analytics.review.report import STORED, Report
from analytics.review.summary import summary, with_moves
from analytics.schema import BARS

START = datetime(2026, 11, 26, 18, 30, tzinfo=UTC)  # midnight in India
OPEN = START + timedelta(hours=9, minutes=15)
MARKUP = "</script><b>&"


def signal(number: int, direction: str, after: tuple[float | None, ...], **more: Any) -> dict[str, Any]:
    """Return a signal of instrument `number` in minute `number` of the session."""
    return {
        "instrument_id": number, "instrument_key": f"NSE_EQ|{number}", "trading_symbol": f"SHARE{number}",
        "class": "equity", "bucket": OPEN + timedelta(minutes=number), "rule_set": "default-1",
        "direction": direction, "confidence": 0.9, "price": 100.0, "move": 0.02, "reasons": "price 2 %",
    } | dict(zip(("after_5m", "after_15m", "after_60m"), after, strict=True)) | more  # fmt: skip


def signals(*rows: dict[str, Any]) -> pl.DataFrame:
    """Return signals as `report.read_report` has them."""
    return with_moves(pl.DataFrame(rows, schema=STORED))


def made_report() -> Report:
    """Return a report of three signals and a missed spike."""
    member = {"instrument_id": 9, "instrument_key": "NSE_FO|9", "trading_symbol": "SHARE1 FUT", "direction": "up"}
    found = signals(
        signal(1, "up", (0.01, 0.02, None), severity="high", members=[member], verdict="right", note=MARKUP),
        signal(2, "down", (0.01, 0.01, 0.0), reasons=MARKUP),
        signal(3, "up", (None, None, None), **{"class": "option"}),
    )
    missed = [("NSE_EQ|4", None, OPEN, "missed", MARKUP, OPEN, "trader")]
    return Report(
        START, START + timedelta(days=1), found, summary(found), pl.DataFrame(missed, schema=LABELS, orient="row")
    )


def bars() -> pl.DataFrame:
    """Return bars of an hour."""
    rows = [
        ("NSE_EQ|1", OPEN + timedelta(minutes=n), 100.0 + n % 7, 109.0, 99.0, 101.0, 500, None, "ticks", "complete")
        for n in range(60)
    ]
    empty = pl.DataFrame(schema=BARS)
    return pl.concat([empty, pl.DataFrame(rows, schema=dict(list(BARS.items())[:10]), orient="row")], how="diagonal")
