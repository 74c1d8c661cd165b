"""Severity and members of an event: in frames, and as the database keeps them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import polars.testing

from analytics.signals.members import EVENT, as_json, member_keys, named, with_event

AT = datetime(2026, 1, 5, 4, 21, tzinfo=UTC)
MEMBER = {"instrument_key": "NSE_FO|2", "bucket": AT, "direction": "up", "confidence": 0.5, "reasons": "volume"}


def test_event_absent_columns_are_null_and_an_empty_list_is_none() -> None:
    alone = with_event(pl.DataFrame({"instrument_key": ["NSE_FO|1"]}))
    assert alone.schema == pl.Schema({"instrument_key": pl.String()} | EVENT)
    assert alone.row(0) == ("NSE_FO|1", None, None)
    empty = pl.DataFrame({"members": [[MEMBER], []], "severity": ["low", "high"]})
    assert with_event(empty)["members"].list.len().to_list() == [1, None]
    assert with_event(empty.clear())["severity"].dtype == EVENT["severity"]


def test_event_members_as_json_are_those_of_lists() -> None:
    lists = pl.DataFrame({"members": [None, [MEMBER]]})
    texts = pl.DataFrame({"members": [None, json.dumps([MEMBER | {"bucket": "2026-01-05T04:21:00Z"}])]})
    polars.testing.assert_frame_equal(with_event(lists), with_event(texts))
    event = named(with_event(lists), {"NSE_FO|2": "NIFTY FUT"})
    assert member_keys(event) == ["NSE_FO|2"]
    none, text = as_json(event, {"NSE_FO|2": 7})
    assert none is None and text is not None
    assert json.loads(text) == [
        MEMBER | {"instrument_id": 7, "trading_symbol": "NIFTY FUT", "bucket": "2026-01-05T04:21:00Z"}
    ]
