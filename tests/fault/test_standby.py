"""Two connections with the same keys: one that dies leaves no gap and loses nothing."""

from __future__ import annotations

import asyncio
import math
import random
import time as time_module
from datetime import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ingest.audit.journal_check import verify_stream
from ingest.database.connections import Database
from ingest.feed.connection import FeedConnection
from ingest.feed.key_states import KeyState
from ingest.feed.lifecycle import State
from ingest.journal.folder import bytes_of, segments_of
from ingest.live.observe.health import health
from ingest.live.status import websocket_status
from ingest.model.records import RecordKind
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.app import Simulator
from ingest.time_source import TimeSource
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import Ingester, Market, records_of, replayed, rows, stream_folder, ticks_of, wait_until
from tests.fault.live import DAY, Running, running, until

SPEED = 5.0  # of the market's clock
TRADES = """
    select instrument_key, ts, ltp, ltq, ltt, vtt, volume from ticks join instruments using (instrument_id)
    where traded order by instrument_key, ts, vtt, seq
"""
# What was not new is in no row: that a quote of one is between two of the other is all that may differ.
DAYS = """
    select instrument_key, max(vtt), sum(volume), max(day_high), min(day_low) from ticks
    join instruments using (instrument_id) group by 1 order by 1
"""


class Attack(NamedTuple):
    """How often a connection is cut, in a session of so many minutes with so many ticks a second."""

    cuts: int
    minutes: int
    rate: float


def brief(attack: Attack) -> GeneratedMarket:
    """A session of a few minutes, which is played whole."""
    closes = time(9, 15 + attack.minutes)
    hours = TradingDay(DAY, cash_closes=closes, derivatives_close=closes)
    return GeneratedMarket(hours, seed=5, instruments=60, rate=attack.rate)


class Paced(TimeSource):
    """The clock of a market: quicker than ours, but it stands where a test says."""

    def __init__(self, market: GeneratedMarket) -> None:
        self.stands_at_s = self._now_s = market.opening()[0].current_ms / 1000
        self._looked_s = time_module.monotonic()

    def now_us(self) -> int:
        looked_s = time_module.monotonic()
        self._now_s = min(self._now_s + (looked_s - self._looked_s) * SPEED, self.stands_at_s)
        self._looked_s = looked_s
        return int(self._now_s * 1e6)

    async def sleep(self, seconds: float) -> None:
        until_us = self.now_us() + seconds * 1e6
        while self.now_us() < until_us and self.stands_at_s < math.inf:
            await asyncio.sleep(0.005)


async def played(database: Database, home: Path, attack: Attack, *, standby: bool) -> Running:
    """Play a session whole; cut connections at random moments, one at a time, and then play on as fast as it goes.

    The market waits for a cut that is due, however busy the machine is.
    """
    cuts, market = attack.cuts if standby else 0, brief(attack)
    rng, clock = random.Random(cuts), Paced(market)
    async with Simulator(market, speed=math.inf, settle_s=2.0, time_source=clock if cuts else None) as simulator:
        run = Running(simulator, database, home, standby=standby)
        await run.begin(sorted(simulator.source.keys))
        feeds = run.ingestion.streams[0].feeds
        await until(lambda: len(simulator.player.connections) == len(feeds))
        await until(lambda: all(len(one.modes) == 60 for one in simulator.player.connections))
        for _ in range(cuts):
            clock.stands_at_s += attack.minutes * 60 / (cuts + 1)
            await asyncio.sleep(rng.random() * 0.2)
            await until(lambda: bool(missed_by_nobody(run)))
            feed = rng.choice(missed_by_nobody(run))
            connections = feed.stats.connections
            cut(simulator, feed)
            await until(lambda feed=feed, before=connections: feed.stats.connections > before)  # type: ignore[misc]
        assert not simulator.finished.is_set()
        clock.stands_at_s, simulator.player.time_source = math.inf, None
        await until(simulator.finished.is_set, within_s=240)
        consumer = run.ingestion.streams[0].consumer

        def heard_ms() -> int:
            """Time of the slower connection: one that has just reconnected does not cover for the other yet."""
            return (
                min(consumer.state.normaliser.standby._newest_ms) if standby else consumer.state.break_detector.last_ms
            )

        await until(lambda: heard_ms() >= simulator.player.current_ms)
        await run.end()
        return run


def missed_by_nobody(run: Running) -> list[FeedConnection]:
    """The connections that may die without a gap: the other has spoken of all that they have."""
    stream = run.ingestion.streams[0]
    standby = stream.consumer.state.normaliser.standby
    if len(standby._said) < 60 or not all(feed.life.state is State.LIVE for feed in stream.feeds):
        return []
    return [
        feed
        for feed in stream.feeds
        if standby.could_go_on(1 - feed.socket)
        and len(stream.feeds[1 - feed.socket].states.in_state(KeyState.CONFIRMED)) == 60
    ]


def cut(simulator: Simulator, feed: FeedConnection) -> None:
    """Cut a connection at the server, without a word."""
    assert feed._socket is not None
    simulator.drop_one(feed._socket.local_address[1])


def updates_brought(folder: Path) -> list[int]:
    """Count the updates that each of the two sockets has in the journal."""
    brought = [0, 0]
    for _, record in records_of(folder):
        if record.kind == RecordKind.FRAME:
            brought[record.socket] += len(pb.FeedResponse.FromString(record.payload).feeds)
    return brought


def compared(database: Database) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    return rows(database, TRADES), rows(database, DAYS)


@pytest.mark.parametrize(
    ("engine", "attack"),
    [
        pytest.param("postgres", Attack(8, 1, 200.0), id="8"),
        pytest.param("postgres", Attack(50, 14, 400.0), id="50", marks=pytest.mark.soak),
        pytest.param("timescale", Attack(50, 14, 400.0), id="50-timescale", marks=pytest.mark.soak),
    ],
    indirect=["engine"],
)
def test_standby_cut_at_random_leaves_no_gap_and_gives_the_rows_of_an_undisturbed_run(
    database: Database, template: Template, home: Path, attack: Attack
) -> None:
    asyncio.run(played(database, home / "pair", attack, standby=True))
    with Database(template.create("undisturbed"), None) as other:
        asyncio.run(played(other, home / "alone", attack, standby=False))
        trades, days = compared(database)
        undisturbed, their_days = compared(other)
        assert len(trades) == len(undisturbed) > 1_000
        assert next((pair for pair in zip(trades, undisturbed, strict=True) if pair[0] != pair[1]), None) is None
        assert days == their_days
    template.drop("undisturbed")
    assert rows(database, "select reason from feed_gaps") == []
    with database.connect(autocommit=True) as connection:
        report = verify_stream(connection, "default", stream_folder(home / "pair"))
    assert report.adds_up, report.problems
    assert report.notes == []
    brought = updates_brought(stream_folder(home / "pair"))
    assert report.ticks + report.duplicates == sum(brought) and report.pending == report.rejected == 0
    assert min(brought) > 0
    assert replayed(template, home, segments_of(stream_folder(home / "pair"))) == ticks_of(database)


@on_one_engine
def test_standby_alone_says_so_and_the_state_is_healthy(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home, standby=True, connections_max=2) as run:
            feeds = run.ingestion.streams[0].feeds
            await until(lambda: all(feed.life.state is State.LIVE for feed in feeds) and run.confirmed == 60)
            status = websocket_status(run.ingestion)
            assert [one["name"] for one in status["connections"]] == ["1", "1 standby"]
            assert status["confirmed_keys"] == 60
            run.simulator.connections_max = 1
            run.simulator.drop_one()
            await until(lambda: any(feed.life.failures > 1 for feed in feeds))
            ticks = run.ticks
            await until(lambda: run.ticks > ticks + 100)
            said = health(run.ingestion)
            assert said["status"] == "healthy"
            assert len(said["warnings"]) == 1 and "403" in said["warnings"][0]
            run.simulator.connections_max = 2
            await until(lambda: all(feed.life.state is State.LIVE for feed in feeds))

    asyncio.run(run())
    assert rows(database, "select count(*) from feed_gaps where instrument_id is null") == [(0,)]


@on_one_engine
def test_standby_killed_and_restarted_gives_each_row_once_and_those_of_a_replay(
    database: Database, template: Template, home: Path
) -> None:
    rng = random.Random(9)
    with Market(home, "--generate", "--instruments", "60", "--rate", "200", "--speed", "5") as of:
        for number in range(4):
            with Ingester(home, of, database.url, TICKLINE_STANDBY="true") as ingester:
                ingester.wait_for("feed connected")
                before = bytes_of(segments_of(ingester.folder))  # what is committed first is of the run before
                wait_until(lambda of=ingester, size=before: bytes_of(segments_of(of.folder)) > size + 2**14)
                ticks = rows(database, "select count(*) from ticks")[0][0]
                wait_until(lambda ticks=ticks: rows(database, "select count(*) from ticks")[0][0] > ticks + 500)
                asyncio.run(asyncio.sleep(rng.random()))
                if number < 3:
                    ingester.kill()
                else:
                    ingester.stop()
    with database.connect(autocommit=True) as connection:
        report = verify_stream(connection, "default", stream_folder(home))
    assert report.adds_up, report.problems
    assert report.duplicates and not report.pending and len(report.notes) == 3
    assert rows(database, "select count(*) from feed_gaps where instrument_id is null") == [(3,)]
    assert replayed(template, home, segments_of(stream_folder(home))) == ticks_of(database)
