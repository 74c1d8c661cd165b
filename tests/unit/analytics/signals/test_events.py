"""What fires together on one underlying is one event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from analytics.signals.columns import SIGNALS
from analytics.signals.events import EventBuilder, with_events
from analytics.signals.rules import rules

OPEN = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
RULES = rules(quiet_minutes=60, join_minutes=5)


def row(minute: int, key: str, confidence: float = 0.5, event: str = "NIFTY") -> dict[str, Any]:
    fields = dict.fromkeys(name for name in SIGNALS if name not in ("onset", "members"))
    return fields | {
        "instrument_key": key, "bucket": OPEN + timedelta(minutes=minute), "direction": "up", "confidence": confidence,
        "reasons": f"{key} at {minute}", "event_key": event,
    }  # fmt: skip


def test_spot_future_and_options_are_one_event_led_by_the_surest() -> None:
    rows = [row(0, "FUT", 0.6), row(0, "SPOT", 0.9), row(0, "CE", 0.4), row(3, "PE", 0.99), row(6, "CE2")]
    rows.append(row(0, "INFY", event="INFY"))
    found = with_events(pl.DataFrame(rows, schema=SIGNALS | {}), EventBuilder(RULES))
    onsets = found.filter("onset").sort("instrument_key")
    assert onsets["instrument_key"].to_list() == ["INFY", "SPOT"]
    members = onsets["members"].to_list()
    assert members[0] is None  # alone
    assert [one["instrument_key"] for one in members[1]] == ["FUT", "CE", "PE"]  # CE2 came too late
    assert members[1][2]["reasons"] == "PE at 3" and members[1][2]["confidence"] == 0.99
    assert found["instrument_key"].to_list() == [one["instrument_key"] for one in rows]


def test_event_begins_anew_only_after_quiet_minutes_of_all_its_instruments() -> None:
    rows = [row(0, "SPOT"), row(50, "FUT"), row(100, "CE"), row(161, "SPOT")]
    found = with_events(pl.DataFrame(rows, schema=SIGNALS | {}), EventBuilder(RULES))
    assert found["onset"].to_list() == [True, False, False, True]


def test_leader_comes_again_when_somebody_joins_later_and_each_joins_once() -> None:
    builder = EventBuilder(RULES)
    assert len(builder.add([row(0, "SPOT")])) == 1
    grown, _ = builder.add([row(1, "FUT")])
    assert (grown["instrument_key"], grown["onset"]) == ("SPOT", True)
    assert [one["instrument_key"] for one in grown["members"]] == ["FUT"]
    assert len(builder.add([row(2, "FUT"), row(2, "SPOT")])) == 2  # known already
    assert len(builder.add([row(9, "CE")])) == 1  # too late
