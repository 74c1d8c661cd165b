"""Times as they are shown: India's for people wherever the machine stands, UTC in ISO 8601 for programs."""

from __future__ import annotations

import json
import logging
import re
import time
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ingest.cli import IndianFormatter
from ingest.cli.operate.status_text import as_text as status_table
from ingest.market.shown_time import iso, ist, jsonable

ROOT = Path(__file__).parents[3]
AT = datetime(2025, 12, 15, 20, 0, 0, 250_000, tzinfo=UTC)
# Who writes or reads hours and minutes besides `ingest.market.shown_time`: frames, JSON, and what a statement returns.
WRITERS = {
    *("analytics/cli/output.py", "analytics/signals/notify.py", "analytics/read/statement.py"),
    # UTC within data that is read again.
    "analytics/signals/members.py",
    *("analytics/evaluation/planted_events/truth.py", "ingest/simulator/exchange/planted_truth.py"),
    # Indian minutes as `tickline spikes label` takes them, and beside a chart.
    *("analytics/review/labels.py", "analytics/review/report_file.py"),
}
SHORT = "analytics/page/"  # has no room for more than hours, minutes and seconds of Indian time


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=30))])
def test_time_reads_the_same_whatever_its_zone(zone: timezone) -> None:
    assert ist(AT.astimezone(zone)) == "2025-12-16 01:30:00.250 IST"
    assert iso(AT.astimezone(zone)) == "2025-12-15T20:00:00.250000Z"
    assert ist(AT.replace(microsecond=0)) == "2025-12-16 01:30:00 IST"
    assert ist(AT.replace(microsecond=1)) == "2025-12-16 01:30:00.000001 IST"


def test_json_has_utc_and_plain_days() -> None:
    told = json.dumps({"at": AT, "day": date(2025, 12, 15), "path": Path("x")}, default=jsonable)
    assert json.loads(told) == {"at": "2025-12-15T20:00:00.250000Z", "day": "2025-12-15", "path": "x"}


def test_log_has_indian_time_on_a_machine_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "begun", None, None)
    record.created = AT.timestamp()
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert IndianFormatter("%(asctime)s %(message)s").format(record) == "2025-12-16 01:30:00.250 IST begun"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_status_shows_indian_time_and_other_texts_as_they_are() -> None:
    tick = {"price": 3.5, "timestamp": "2025-12-15T03:45:00+00:00"}
    answer = {"market_time": "2025-12-15T03:45:01.500000+00:00", "error": "The x"}
    shown = status_table("ticks", answer | {"latest_ticks": {"NSE_FO|1": tick}})
    assert shown.splitlines() == [
        "market_time: 2025-12-15 09:15:01.500 IST",
        "error: The x",
        "NSE_FO|1: price 3.5, timestamp 2025-12-15 09:15:00 IST",
    ]


def test_nobody_else_writes_the_time_of_day() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("analytics", "ingest")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"%H|%T|default=str\)\)?$|\bctime\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {path for path in found if not path.startswith(SHORT)} == WRITERS
