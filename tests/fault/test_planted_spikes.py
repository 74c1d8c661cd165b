"""Planted spikes of known size: from the simulator's socket to `signals`, across a SIGKILL of the follower."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analytics.signals.find import Scope, find
from analytics.signals.rules import DEFAULT
from ingest.database.connections import Database
from tests.engines import on_one_engine
from tests.fault.harness import Command, Ingester, Market, rows, wait_until

DAY = "2026-11-19"
OPEN = datetime(2026, 11, 19, 3, 45, tzinfo=UTC)
# Key, minutes after the open, percent, times the usual volume. The first needs a warm follower, the second comes
# while none is there or the next one starts, the third when that one follows.
PLANTED = [("NSE_FO|35000", 36, 2.5, 20), ("NSE_EQ|INE002A01018", 44, -3.0, 25), ("NSE_EQ|INE040A01034", 60, 2.0, 20)]
EXPECTED = [(key, OPEN + timedelta(minutes=minute), "up" if move > 0 else "down") for key, minute, move, _ in PLANTED]
STORED = (
    "select instrument_key, bucket, direction from signals join instruments using (instrument_id) "
    "order by bucket, instrument_key"
)


@pytest.mark.timeout(180)
@on_one_engine
def test_planted_spikes_come_through_the_socket_once_each_though_the_follower_is_killed(
    database: Database, home: Path
) -> None:
    spikes = [word for key, *spike in PLANTED for word in ("--spike", "{}@{}:{}x{}".format(key, *spike))]
    session = ("--generate", "--date", DAY, "--instruments", "8", "--rate", "8", "--seed", "3", "--speed", "300")
    follow = ("spikes", "--follow", "--log", str(home / "signals.log"))
    settings = {"TICKLINE_DATABASE_URL": database.url, "TICKLINE_HOME": str(home)}
    with Market(home, *session, *spikes) as market, Ingester(home, market, database.url):
        with Command(home, *follow, **settings) as first:
            wait_until(lambda: rows(database, STORED))
            first.kill()
        with Command(home, *follow, **settings) as second:
            wait_until(lambda: len(rows(database, STORED)) >= len(PLANTED) or second.process.poll() is not None)
            second.stop()
    live = rows(database, STORED)
    assert live == EXPECTED
    told = [json.loads(line) for line in (home / "signals.log").read_text().splitlines()]
    assert [line["instrument_key"] for line in told][-1] == EXPECTED[-1][0] and len(told) <= len(EXPECTED)
    # Each is as large as it was planted, as far as the bars show it.
    moves = [row[0] for row in rows(database, "select (reasons ->> 'move')::float8 from signals order by bucket")]
    for move, (_, _, percent, _) in zip(moves, PLANTED, strict=True):
        assert move == pytest.approx(percent / 100, abs=0.006)
    # What was found as it came is what history has.
    again = list(find(database, Scope(DEFAULT), OPEN, OPEN + timedelta(minutes=61)))
    assert [found["is_new"].to_list() for found in again] == [[False] * len(PLANTED)]
    assert rows(database, STORED) == live
