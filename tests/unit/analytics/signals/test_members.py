"""Severity and members of an event: in frames, and as the database keeps them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl

from analytics.signals.members import EVENT, as_json, member_keys, named

AT = datetime(2026, 1, 5, 4, 21, tzinfo=UTC)
MEMBER = {"instrument_key": "NSE_FO|2", "bucket": AT, "direction": "up", "confidence": 0.5, "reasons": "volume"}


def test_members_get_their_names_and_are_written_as_json() -> None:
    signals = pl.DataFrame({"members": [None, [MEMBER | {"trading_symbol": None}]]}, schema_overrides=EVENT)
    event = named(signals, {"NSE_FO|2": "NIFTY FUT"})
    assert member_keys(event) == ["NSE_FO|2"]
    none, text = as_json(event, {"NSE_FO|2": 7})
    assert none is None and text is not None
    assert json.loads(text) == [
        MEMBER | {"instrument_id": 7, "trading_symbol": "NIFTY FUT", "bucket": "2026-01-05T04:21:00Z"}
    ]
