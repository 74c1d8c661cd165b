"""Labels and the report: what a person says of signals is kept, shown, and given to evaluation with its bars."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from click.testing import CliRunner, Result

import analytics
from analytics.cli.spikes import command
from analytics.signals.columns import SIGNALS
from analytics.signals.find import settle, store
from analytics.signals.rules import DEFAULT
from ingest.database.connections import Database
from ingest.errors import ConfigError
from tests.engines import on_one_engine
from tests.unit.analytics.review.reports import OPEN

pytestmark = on_one_engine
SHARE, THIN, INDEX = "NSE_EQ|INE002A01018", "NSE_FO|40001", "NSE_INDEX|Nifty 50"
FIRED = OPEN + timedelta(minutes=30)  # 09:45 in India
ROW = {
    "direction": "down", "confidence": 0.9, "score": 2.0, "close": 130.0, "move": -0.02, "volume_ratio": 20.0,
    "price_score": 1.0, "volume_score": 1.0, "trades_score": None, "iv_score": None, "oi_score": None, "onset": True,
    "reasons": "price -2 %; volume 20 times",
}  # fmt: skip


def fired(*keys: str, close: float = 130.0, bucket: datetime = FIRED) -> pl.DataFrame:
    """Return signals of instruments in one minute."""
    rows = [ROW | {"instrument_key": key, "bucket": bucket, "close": close} for key in keys]
    return pl.DataFrame(rows, schema=SIGNALS)


@pytest.fixture
def filled(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    """Two days of bars whose close is 100 plus the minute of the session, of a share, an index and a thin option."""
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "insert into instruments (instrument_key, trading_symbol, instrument_type, expiry, strike, valid_from)"
            " values (%s, 'RELIANCE', 'EQ', null, null, '2026-01-01'),"
            " (%s, 'NIFTY', 'INDEX', null, null, '2026-01-01'),"
            " (%s, 'NIFTY 26000 CE 29 DEC 26', 'CE', '2026-12-29', 26000, '2026-01-01')",
            [SHARE, INDEX, THIN],
        )
        connection.execute(
            "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, source)"
            " select instrument_id, %s::timestamptz + day * interval '1 day' + minute * interval '1 minute',"
            " 100, 500, 50, 100 + minute, case when instrument_type <> 'INDEX' then 10 end, 'I1'"
            " from instruments cross join generate_series(-1, 0) as day cross join generate_series(0, 374) as minute"
            " where instrument_type <> 'CE' or minute <= 30",
            [OPEN],
        )
        yield connection


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def outcomes(connection: psycopg.Connection[Any]) -> dict[str, tuple[float | None, ...]]:
    rows = connection.execute(
        "select instrument_key, after_5m, after_15m, after_60m from signals join instruments using (instrument_id)"
    )
    return {key: tuple(after) for key, *after in rows}


def test_outcomes_are_of_later_bars_and_come_anew_with_another_price(filled: psycopg.Connection[Any]) -> None:
    store(filled, DEFAULT, fired(SHARE, INDEX, THIN))
    settle(filled, OPEN, FIRED + timedelta(minutes=16))  # the end of the newest bar
    known = outcomes(filled)
    assert known[SHARE] == known[INDEX] == (pytest.approx(135 / 130 - 1), pytest.approx(145 / 130 - 1), None)
    assert known[THIN] == (None, None, None)  # nothing was traded after the minute of the signal
    store(filled, DEFAULT, fired(SHARE))  # found again as it was
    assert outcomes(filled)[SHARE] == known[SHARE]
    store(filled, DEFAULT, fired(SHARE, close=131.0))
    assert outcomes(filled)[SHARE] == (None, None, None)
    last = OPEN + timedelta(minutes=370)
    store(filled, DEFAULT, fired(SHARE, close=470.0, bucket=last))
    settle(filled, OPEN, OPEN + timedelta(hours=12))
    rows = filled.execute("select after_5m, after_60m from signals where bucket = %s", [last]).fetchall()
    assert rows == [(pytest.approx(474 / 470 - 1),) * 2]  # behind the close: the last bar's


def test_label_is_written_replaced_removed_and_refused_where_nothing_is(filled: psycopg.Connection[Any]) -> None:
    store(filled, DEFAULT, fired(SHARE))
    assert run("label", "reliance", "2026-11-27 09:45", "right", "--note", "results").stdout == (
        "RELIANCE 2026-11-27 09:45:00 IST: right\n"
    )
    assert run("label", "RELIANCE", "2026-11-27 09:45", "wrong").stdout.endswith(": wrong (was right)\n")
    missed = run("label", "RELIANCE", "2026-11-27 09:48", "missed")
    assert missed.stdout.endswith("09:48:00 IST: missed\n") and "a signal is near, at 2026-11-27 09:45" in missed.stderr
    for at, verdict, said in (
        ("2026-11-27 09:50", "right", "near ones are '2026-11-27 09:45'"),
        ("2026-11-27 12:00", "right", "label a spike that no signal told as missed"),
        ("2026-11-27 09:45", "missed", "a signal told 'RELIANCE' at '2026-11-27 09:45': label it right or wrong"),
        ("2026-11-27 18:00", "missed", "no bar of 'RELIANCE' at '2026-11-27 18:00'"),
        ("2026-11-27 09:50", "--remove", "near ones are '2026-11-27 09:48', '2026-11-27 09:45'"),
    ):
        with pytest.raises(ConfigError, match=said):
            run("label", "RELIANCE", at, verdict)
    found = analytics.labels("RELIANCE", start=FIRED)
    user = filled.info.user
    assert found.drop("labelled_at").rows() == [
        (SHARE, "RELIANCE", FIRED, "wrong", None, user),
        (SHARE, "RELIANCE", FIRED + timedelta(minutes=3), "missed", None, user),
    ]
    assert analytics.labels(INDEX).is_empty() and analytics.labels(end=FIRED).is_empty()
    listed = run("label", "--list", "--format", "csv")
    assert [line.split(",")[1:3] for line in listed.stdout.splitlines()[1:]] == [
        ["RELIANCE", "wrong"],
        ["RELIANCE", "missed"],
    ]
    assert run("label", "RELIANCE", "2026-11-27 09:48", "--remove").stdout.endswith("label removed (was missed)\n")
    assert analytics.labels().height == 1
    for wrong in (["RELIANCE"], ["RELIANCE", "today"], ["RELIANCE", "today", "right", "--from", "today"]):
        assert run("label", *wrong).exit_code == 2
    with pytest.raises(psycopg.errors.CheckViolation):
        filled.execute("update labels set verdict = 'perhaps'")


def test_report_shows_signals_outcomes_labels_and_figures(filled: psycopg.Connection[Any], tmp_path: Path) -> None:
    assert "no rows" in run("report", "--day", "2026-11-27").stderr
    store(filled, DEFAULT, fired(SHARE, INDEX))
    run("label", "NIFTY", "2026-11-27 09:45", "right", "--note", "budget")
    run("label", "RELIANCE", "2026-11-27 10:30", "missed")
    page = tmp_path / "report.html"
    shown = run("report", "--html", str(page)).stdout
    assert "2026-11-27 09:45:00" in shown and "-3.85" in shown  # down, but the price rose by 3.85 % within 5 minutes
    assert "0 % (0 to 79) of 1, -3.85 %" in shown and "0 % (0 to 66) of 2, -3.85 %" in shown
    assert "missed, as labelled" in shown and "budget" not in shown
    drawn = page.read_text(encoding="utf-8")
    assert "Candlestick chart of NIFTY, 105 bars around 27 Nov 09:45 IST" in drawn and "budget" in drawn
    found = json.loads(run("report", "--format", "json", "--from", "2026-11-27").stdout)
    assert [(one["trading_symbol"], one["verdict"], one["class"]) for one in found["signals"]] == [
        ("RELIANCE", None, "equity"),
        ("NIFTY", "right", "index"),
    ]
    assert [row["class"] for row in found["summary"]] == ["equity", "index", "all"]
    assert (found["summary"][2]["right"], found["missed"][0]["trading_symbol"]) == (1, "RELIANCE")
    rows = run("report", "--format", "csv", "--to", "2026-11-28").stdout.splitlines()
    assert len(rows) == 3 and rows[0].startswith("instrument_key,trading_symbol,class,bucket,")
    assert "no rows" in run("report", "--day", "2026-11-26").stderr
    with pytest.raises(ConfigError, match=f"no signal has the rules 'mine': name '{DEFAULT.name}'"):
        run("report", "--rules", "mine")
    assert run("report", "--day", "2026-11-27", "--from", "2026-11-26").exit_code == 2
