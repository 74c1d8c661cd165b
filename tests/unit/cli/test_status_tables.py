"""`tickline status` and `db status` for people: a table for each key on a terminal, whole lines in a pipe."""

from __future__ import annotations

import pytest

from ingest.cli.operate.db import _show
from ingest.cli.operate.status import _print_rows
from ingest.database.upgrade import JobStatus, RelationStatus, Status

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


def test_db_status_in_a_pipe_is_whole_however_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    relations = [RelationStatus("ticks", 1_234_567, 900, 12), RelationStatus("bars_1m", 5, 2_000_000, 1)]
    job = JobStatus("a_relation_with_a_long_name", "job of " + "a name " * 20, "1 hour", 7, 0, None, None)
    found = Status("ticks", "embedded", "postgres", "18.6", None, "0007", "0007", 10**9, relations, [job])
    _show(found)
    facts, sizes, jobs = capsys.readouterr().out.split("\n\n")
    assert facts.splitlines()[-1] == "size       1 GB"
    assert sizes.splitlines() == [
        "relation  rows (approx.)   size  parts",
        "ticks          1,234,567  900 B     12",
        "bars_1m                5   2 MB      1",
    ]
    assert job.job in jobs.splitlines()[1] and jobs.splitlines()[1].endswith("never")
