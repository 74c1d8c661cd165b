"""`tickline status` for people: on a terminal what there is for each key is a table."""

from __future__ import annotations

import pytest

from ingest.cli.operate.status import _print_rows

TICKS = {
    "latest_ticks": {
        "NSE_EQ|INE009A01021": {"price": 1610.5, "volume": 1234, "timestamp": "2025-12-15T04:02:00+00:00"},
        "NSE_INDEX|Nifty 50": {"price": 26_000.05, "volume": None, "timestamp": "2025-12-15T04:02:01+00:00"},
    },
    "total_updates": 7,
}


def test_status_of_keys_is_a_table_after_the_other_facts(capsys: pytest.CaptureFixture[str]) -> None:
    _print_rows("ticks", TICKS)
    assert capsys.readouterr().out.splitlines() == [
        "total_updates: 7",
        "instrument_key          price  volume  timestamp",
        "NSE_EQ|INE009A01021    1610.5    1234  2025-12-15 09:32:00 IST",
        "NSE_INDEX|Nifty 50   26000.05       -  2025-12-15 09:32:01 IST",
    ]


def test_status_without_a_key_is_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    _print_rows("subscriptions", {"subscriptions": {}})
    assert capsys.readouterr().out.split() == ["instrument_key"]
