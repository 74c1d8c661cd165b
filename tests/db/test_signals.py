"""Planted spikes through the whole path: found in their minute, stored once, told once, also across a restart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import polars as pl
import psycopg
import pytest
from click.testing import CliRunner, Result

from analytics.cli.spikes import command
from analytics.signals import find as signals
from analytics.signals.columns import SIGNALS
from analytics.signals.find import Scope, find, follow
from analytics.signals.notify import append_to_log, as_json, post
from analytics.signals.rules import DEFAULT
from ingest.database.connections import Database
from ingest.journal.recording import write_recording
from ingest.model.frames import FrameType
from ingest.pipeline.replay import replay
from ingest.settings import Settings
from ingest.simulator.exchange.instruments import make_universe
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.planted_truth import truth_rows
from ingest.simulator.exchange.prices import PlantedSpike
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.frame_bytes import entry, feed_response
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, wait_until

FUTURE = "NSE_FO|35000"
SESSION = TradingDay(date(2026, 1, 5), cash_closes=time(10, 5), derivatives_close=time(10, 5))
MINUTE = timedelta(minutes=1)
OPEN = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
PLANTED = [PlantedSpike(FUTURE, 36, 2.5, 20.0), PlantedSpike("NSE_EQ|INE002A01018", 45, -3.0, 25.0)]
EXPECTED = [(spike.instrument_key, OPEN + timedelta(minutes=spike.minute)) for spike in PLANTED]


@cache
def frames() -> list[tuple[int, bytes]]:
    """The market as the feed sends it, made once."""
    market = GeneratedMarket(SESSION, seed=3, instruments=8, rate=6, plant=PLANTED)
    return [
        (
            frame.current_ms,
            feed_response(
                FrameType.LIVE_FEED, frame.current_ms, [entry(key, feed) for key, feed in frame.feeds.items()]
            ),
        )
        for frame in market.frames()
    ]


@pytest.fixture
def recordings(tmp_path: Path) -> tuple[Path, Path]:
    """The market until shortly after the first spike, and the whole of it."""
    until_ms = int((OPEN + timedelta(minutes=40)).timestamp() * 1000)
    part, whole = tmp_path / "part.frames.gz", tmp_path / "whole.frames.gz"
    write_recording(part, [frame for frame in frames() if frame[0] < until_ms])
    write_recording(whole, frames())
    return part, whole


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("POLL_S", 0.02), ("SETTLE_S", 0.05), ("IDLE_S", WITHIN_S)):
        monkeypatch.setattr(signals, name, seconds)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Until when who follows has judged the minutes, as it comes."""
    found: list[datetime] = []
    settle = signals.settle

    def noted(connection: psycopg.Connection[Any], start: datetime, end: datetime) -> None:
        settle(connection, start, end)
        found.append(end)

    monkeypatch.setattr(signals, "settle", noted)
    return found


@contextmanager
def following(database: Database) -> Iterator[list[tuple[str, datetime]]]:
    """Follow in a thread; what is found as it comes."""
    found: list[tuple[str, datetime]] = []
    stop = threading.Event()

    def run() -> None:
        scope = Scope(DEFAULT)
        follow(
            database, scope, lambda new: found.extend(new.select("instrument_key", "bucket").iter_rows()), stop.is_set
        )

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(WITHIN_S)
        assert not thread.is_alive()


def stored(database: Database) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(
            "select instrument_key, bucket, direction, confidence, price, reasons, after_5m, after_15m, after_60m "
            "from signals join instruments using (instrument_id) order by bucket"
        ).fetchall()


def test_planted_spikes_are_found_in_their_minute_and_stored_once_across_a_restart_and_by_history(
    database: Database, recordings: tuple[Path, Path], settled: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    part, whole = recordings
    with database.connect(autocommit=True) as listener:
        listener.execute("listen tickline_signals")
        with following(database) as first:
            asyncio.run(replay(Settings(), database.url, [part]))
            wait_until(lambda: len(first) == 1)
        asyncio.run(replay(Settings(), database.url, [whole]))  # while nobody follows
        closes = closes_of_future(database)
        monkeypatch.setattr(signals, "IDLE_S", 0.1)
        with following(database) as second:
            wait_until(lambda: max(closes) + MINUTE in settled)  # the last minute is over, and nothing more comes
        told = [json.loads(note.payload) for note in listener.notifies(timeout=0)]
    assert first + second == EXPECTED
    rows = stored(database)
    assert [row[:3] for row in rows] == [(*EXPECTED[0], "up"), (*EXPECTED[1], "down")]
    assert [datetime.fromisoformat(note["bucket"]) for note in told] == [bucket for _, bucket in EXPECTED]
    assert all(row[3] >= DEFAULT.confidence_min for row in rows)
    assert rows[0][5]["move"] == pytest.approx(0.025, abs=0.01)
    assert "volume" in rows[0][5]["text"]
    # What became of it: the price stays where the jump has brought it.
    assert rows[0][6] == pytest.approx(0, abs=0.01)
    assert rows[0][8] is None
    # The day as a whole finds and stores the same, and says what became of it.
    day = OPEN.replace(hour=0)
    [again] = find(database, Scope(DEFAULT), day, day + timedelta(days=1))
    assert [row[:6] for row in stored(database)] == [row[:6] for row in rows]
    assert again["is_new"].to_list() == [False, False]
    bucket, price = EXPECTED[0][1], closes[EXPECTED[0][1]]
    for minutes, after in zip((5, 15), stored(database)[0][6:8]):
        last = max(at for at in closes if at < bucket + timedelta(minutes=1 + minutes))
        assert after == pytest.approx(closes[last] / price - 1, abs=1e-12)
    # The day is over: the last price of it is the one after an hour.
    assert stored(database)[0][8] == pytest.approx(closes[max(closes)] / price - 1, abs=1e-12)


def closes_of_future(database: Database) -> dict[datetime, float]:
    with database.connect() as connection:
        return dict(
            connection.execute(
                "select bucket, close from best_bars_1m join instruments using (instrument_id) "
                "where instrument_key = %s",
                (FUTURE,),
            ).fetchall()
        )


def followed(
    command: click.Command, arguments: list[str], settled: list[datetime], closes: dict[datetime, float]
) -> Result:
    """Run a command that follows, and end it by SIGTERM when it has judged the last minute."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end() -> None:
        wait_until(lambda: max(closes) + MINUTE in settled)
        os.kill(os.getpid(), signal.SIGTERM)

    ending = threading.Thread(target=end)
    ending.start()
    try:
        return CliRunner().invoke(command, arguments)
    finally:
        ending.join()
        for number, handler in before.items():
            signal.signal(number, handler)


@on_one_engine
def test_command_prints_spikes_and_draws_one_file(
    database: Database,
    recordings: tuple[Path, Path],
    settled: list[datetime],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asyncio.run(replay(Settings(), database.url, [recordings[1]]))
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    chart = tmp_path / "chart.html"
    ran = CliRunner().invoke(command, [FUTURE, "--from", "2026-01-05", "--format", "csv", "--chart", str(chart)])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.count("2026-01-05T") == 1 and "2026-01-05T04:21:00Z" in ran.stdout
    page = chart.read_text(encoding="utf-8")
    assert f"Candlestick chart of {FUTURE}, rules {DEFAULT.name}: " in page and " bars, 1 signals" in page
    content = json.loads(page.partition('id="content">')[2].partition("</script>")[0])
    [[_, direction, confidence, _, reasons]] = content["data"]["signals"]
    assert (direction, confidence > 0.35, "volume" in reasons) == ("up", True, True)
    first = ran.stdout.splitlines()[1]
    assert "volume" in first and "..." not in first  # a pipe gets all of the reasons
    monkeypatch.setattr(signals, "IDLE_S", 0.1)
    ran = followed(command, ["--follow", "--log", str(tmp_path / "signals.log")], settled, closes_of_future(database))
    assert ran.exit_code == 0, ran.output
    assert "\n2026-01-05 10:00:00 IST  " in ran.stdout
    lines = [json.loads(line) for line in (tmp_path / "signals.log").read_text().splitlines()]
    assert [line["instrument_key"] for line in lines] == [PLANTED[1].instrument_key]  # the other was stored before
    assert stored(database)[0][0] == FUTURE and len(stored(database)) == 2
    for arguments in ([], ["--to", "2026-01-06"]):  # neither a KEY nor a range need be given
        ran = CliRunner().invoke(command, arguments)
        assert ran.exit_code == 0 and ran.stdout.count("price") == 2, ran.output
    with database.connect() as connection:
        connection.execute(
            "insert into labels (instrument_id, bucket, verdict) "
            "select instrument_id, %s, 'right' from instruments where instrument_key = %s",
            (EXPECTED[0][1], FUTURE),
        )
    judged = ["evaluate", "--labels", "--days-min", "0", "--format", "json"]
    ran = CliRunner().invoke(command, judged)
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert report["classes"]["future"]["alarms"] == report["labels"]["labels"]["right"] == 1
    assert report["labels"]["detectors"][f"rules {DEFAULT.name}"]["found"]["value"] == 1
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(truth_rows(PLANTED, make_universe(8, SESSION.day), SESSION)))
    planted = ["evaluate", "--truth", str(truth), "--days-min", "0", "--format", "json", "--from", "2026-01-05"]
    ran = CliRunner().invoke(command, planted)
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)["planted"]
    assert [(row["class"], row["found"]["value"]) for row in found["rows"]] == [("equity", 1), ("future", 1)]
    assert found["other_alarms"] == 0
    for missing in ("gone.parquet", "NOBODY"):
        ran = CliRunner().invoke(command, ["evaluate", missing])
        assert ran.exit_code == 1 and repr(missing) in str(ran.exception)


@on_one_engine
def test_event_is_one_row_with_severity_and_members_replaced_when_found_again(database: Database) -> None:
    future, option = "NSE_FO|35000", "NSE_FO|40001"
    row = dict.fromkeys(SIGNALS) | {
        "instrument_key": FUTURE, "bucket": OPEN, "direction": "up", "confidence": 0.9, "score": 2.0, "close": 100.0,
        "move": 0.02, "onset": True, "reasons": "price",
    }  # fmt: skip
    member = {"bucket": OPEN, "direction": "down", "confidence": 0.5, "reasons": "volume"}
    members = [{"instrument_key": option, "trading_symbol": None} | member]
    event = pl.DataFrame([row | {"severity": "high", "members": members}], schema=SIGNALS)
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "insert into instruments (instrument_key, trading_symbol, valid_from) "
            "values (%s, 'NIFTY FUT', '2026-01-01'), (%s, 'NIFTY 26000 PE', '2026-01-01')",
            [future, option],
        )
        connection.execute("listen tickline_signals")
        first = signals.store(connection, DEFAULT, event)
        known = connection.execute("select severity, members from signals").fetchall()
        again = signals.store(connection, DEFAULT, pl.DataFrame([row | {"severity": "low"}], schema=SIGNALS))
        replaced = connection.execute("select severity, members from signals").fetchall()
        [told] = [json.loads(note.payload) for note in connection.notifies(timeout=0)]
    assert (first["is_new"].to_list(), again["is_new"].to_list()) == ([True], [False])
    [(severity, [stored_member])] = known
    assert severity == "high" and isinstance(stored_member.pop("instrument_id"), int)
    assert stored_member == {"instrument_key": option, "trading_symbol": "NIFTY 26000 PE"} | member | {
        "bucket": "2026-01-05T03:45:00Z"
    }
    assert (told["severity"], told["members"]) == ("high", 1)
    assert replaced == [("low", None)]
    [line] = as_json(first)  # of the log and the webhook
    assert json.loads(line)["severity"] == "high"
    assert json.loads(line)["members"][0]["trading_symbol"] == "NIFTY 26000 PE"


def test_signals_table_refuses_what_is_none(conn: psycopg.Connection[Any]) -> None:
    insert = (
        "insert into signals (instrument_id, bucket, rule_set, direction, confidence, score, price, reasons) "
        "values (1, now(), 'r', {}, {}, 0, 1, '{{}}')"
    )
    for direction, confidence in (("'sideways'", "0.5"), ("'up'", "1.5")):
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(insert.format(direction, confidence))
    conn.execute(insert.format("'up'", "0.5"))
    for wrong in ("severity = 'huge'", "members = '{}'", "members = '[]'"):
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(f"update signals set {wrong}")


def test_webhook_gets_json_and_its_absence_stops_nothing(tmp_path: Path) -> None:
    got: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    row = {"instrument_key": FUTURE, "trading_symbol": "NIFTY", "bucket": OPEN, "direction": "up", "confidence": 0.9}
    row |= {"severity": "low", "close": 1.0, "move": 0.02, "reasons": "price", "members": None}
    new = pl.DataFrame([row])
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    assert post(url, new)
    thread.join(WITHIN_S)
    server.server_close()
    assert got == [[row | {"bucket": "2026-01-05T03:45:00Z"}]]
    assert not post(url, new)
    append_to_log(tmp_path / "deep" / "signals.log", new)
    assert (tmp_path / "deep" / "signals.log").read_text().count("\n") == 1
