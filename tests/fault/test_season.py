"""A day and the next open, by a clock that is turned: what is subscribed, how often is asked, what alarms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import astuple
from datetime import date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ingest.cli.record.login import store_token
from ingest.database.connections import Database
from ingest.feed.lifecycle import State
from ingest.feed.usual_rate import UsualRates
from ingest.live.observe.health import health
from ingest.live.status import websocket_status
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.faults import Faults
from tests.engines import on_one_engine
from tests.fault.live import until
from tests.fault.season import (
    EXPIRIES,
    FIRST,
    IST,
    MONTHS,
    SECOND,
    SHARE,
    SPOT,
    STRIKES,
    Dial,
    Season,
    Turned,
    at,
    turned,
)

AROUND = 2  # strikes on each side
UNIVERSE: dict[str, Any] = {"universe": "INFY", "underlyings": "NIFTY", "option_strikes": AROUND}


def nifty(now: datetime) -> float:
    """26,000 until ten, then 240 higher within half an hour; the next day opens lower."""
    if (now + IST).date() > FIRST and now >= at(SECOND, 9, 15):
        return 25_912.0
    minutes = (now - at(FIRST, 10, 0)).total_seconds() / 60
    return 26_002.0 + 240.0 * min(max(minutes / 30, 0.0), 1.0)


class Day:
    """The run, and what should be subscribed in it."""

    def __init__(self, run: Turned, season: Season) -> None:
        self.run, self.season = run, season

    def wanted(self, centre: int, options: date, futures: list[date]) -> set[str]:
        """What it should send."""
        at_centre = STRIKES.index(centre)
        strikes = STRIKES[at_centre - AROUND : at_centre + AROUND + 1]
        contracts = {key for strike in strikes for key in self.season.options[options, strike]}
        return {SPOT, SHARE} | contracts | {self.season.futures[expiry] for expiry in futures}


async def through_the_day(run: Turned, season: Season, database: Database, home: Path) -> None:
    day, simulator, feed = Day(run, season), run.simulator, run.feed
    watchdog = run.ingestion.watchdog
    # Before the open: by the prices that REST has, nothing of the feed has come.
    first_window = day.wanted(26_000, EXPIRIES[0], MONTHS[:2])
    await until(lambda: run.subscribed == first_window)
    await run.to(at(FIRST, 9, 14, 50), 30.0)
    assert run.subscribed == first_window
    assert run.attempts == 1
    # Open: each key is heard of, and the window follows the spot.
    await run.to(at(FIRST, 9, 16))
    assert feed.life.state is State.LIVE and health(run.ingestion)["status"] == "healthy"
    assert sorted(key for key in feed.states._keys) == sorted(first_window)
    await run.to(at(FIRST, 9, 50), 300.0)
    assert run.subscribed == first_window
    await run.to(at(FIRST, 10, 5), 30.0)
    assert run.subscribed == day.wanted(26_050, EXPIRIES[0], MONTHS[:2])
    await run.to(at(FIRST, 10, 35), 30.0)
    last_window = day.wanted(26_250, EXPIRIES[0], MONTHS[:2])
    assert run.subscribed == last_window
    await run.to(at(FIRST, 15, 39, 50), 300.0)
    assert run.subscribed == last_window and run.attempts == 1
    # The close of the derivatives: contracts roll; the share goes on.
    before = ticks_of(database, SHARE)
    await run.to(at(FIRST, 15, 41))
    rolled = day.wanted(26_250, EXPIRIES[1], MONTHS[1:3])
    assert run.subscribed == rolled
    await run.to(at(FIRST, 15, 59), 60.0)
    await until(lambda: ticks_of(database, SHARE) > before + 200)
    assert feed.stats.connections == 1
    await the_night(run, home, rolled)
    # The next open.
    await run.to(at(SECOND, 8, 50), 300.0)
    await run.to(at(SECOND, 9, 14, 50), 30.0)
    assert run.subscribed == rolled
    await run.to(at(SECOND, 9, 16))
    assert feed.life.state is State.LIVE and health(run.ingestion)["status"] == "healthy"
    opened = day.wanted(25_900, EXPIRIES[1], MONTHS[1:3])
    assert run.subscribed == opened
    await run.to(at(SECOND, 9, 17))
    assert astuple(watchdog.alarms["1"]) == (0, 0, 0, 0, 0)
    assert (feed.stats.reconnects, feed.stats.ping_timeouts) == (0, 0)
    assert simulator.asked["connect"] == feed.stats.connections == 3


async def the_night(run: Turned, home: Path, rolled: set[str]) -> None:
    """Refused for two hours, then a token that ends; nobody is asked more than now and then."""
    simulator, feed = run.simulator, run.feed
    await run.to(at(FIRST, 18, 0), 300.0)
    assert run.attempts == 1 and run.subscribed == rolled
    simulator.faults.refuse = 403
    simulator.drop_all()
    await run.to(at(FIRST, 20, 0), 60.0)
    assert feed.life.state is State.MARKET_CLOSED and health(run.ingestion)["status"] == "healthy"
    assert 7 <= run.attempts - 1 <= 9  # once in 15 minutes
    simulator.faults.refuse = None
    await run.to(at(FIRST, 20, 16), 60.0)
    assert run.subscribed == rolled
    attempts = run.attempts
    await run.to(at(SECOND, 3, 30), 900.0)
    assert run.attempts == attempts
    simulator.expire_token("token-of-tomorrow")
    await run.to(at(SECOND, 4, 0), 60.0)
    assert feed.life.state is State.WAITING_FOR_TOKEN
    await run.to(at(SECOND, 7, 0), 300.0)
    assert run.attempts - attempts <= 12 * 3.5  # a refused token rests for five minutes
    assert not run.subscribed
    store_token(home / ".env", "token-of-tomorrow")
    await run.to(at(SECOND, 7, 1))
    assert run.subscribed == rolled


def ticks_of(database: Database, key: str) -> int:
    with database.connect(autocommit=True) as connection:
        row = connection.execute(
            "select count(*) from ticks join instruments using (instrument_id) where instrument_key = %s", (key,)
        ).fetchone()
    assert row is not None
    return int(row[0])


@on_one_engine
def test_season_of_a_day_a_night_and_the_next_open(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.delenv("UPSTOX_ACCESS_TOKEN", raising=False)

    async def run() -> None:
        dial = Dial(at(FIRST, 8, 50))
        season = Season(dial.now, nifty)
        async with turned(database, home, season, dial, **UNIVERSE) as run:
            await through_the_day(run, season, database, home)

    asyncio.run(run())
    with database.connect(autocommit=True) as connection:
        gaps = connection.execute(
            "select reason, started_at, ended_at from feed_gaps where instrument_id is null order by started_at"
        ).fetchall()
        loaded = connection.execute("select count(*) from tickline.master_loads").fetchone()
    assert [reason for reason, *_ in gaps] == ["no close frame", "no close frame"]  # of 18:00 and of 03:30
    assert loaded == (2,)  # once each morning


@on_one_engine
def test_closing_auction_that_the_feed_announces_silences_the_alarm_for_shares(database: Database, home: Path) -> None:
    async def run() -> None:
        dial = Dial(at(FIRST, 10, 40))
        async with turned(database, home, Season(dial.now, nifty), dial, **UNIVERSE) as run:
            alarms = run.ingestion.watchdog.alarms["1"]
            await run.to(at(FIRST, 10, 50), 5.0)
            run.simulator.player.say_auction("NSE_EQ", "CTS_CLOSE")
            run.simulator.faults.mute.add(SHARE)
            await run.to(at(FIRST, 11, 0), 5.0)
            assert astuple(alarms) == (0, 0, 0, 0, 0)
            run.simulator.player.say_auction("NSE_EQ", "NORMAL_CLOSE")
            await run.to(at(FIRST, 11, 5), 5.0)
            assert alarms.silent == 1

    asyncio.run(run())


@on_one_engine
def test_half_of_what_earlier_days_had_is_said_and_no_more_when_it_is_back(database: Database, home: Path) -> None:
    """The connection has never brought more: only earlier days know that this is little."""
    source = GeneratedMarket(TradingDay(SECOND), seed=3, instruments=60, rate=60.0)

    async def played(faults: Faults, course: Callable[[Turned], Awaitable[None]], port: int = 0) -> None:
        dial = Dial(at(SECOND, 9, 14, 50))
        async with turned(database, home, source, dial, port, faults, universe=",".join(source.keys)) as run:
            await course(run)

    async def usual(run: Turned) -> None:
        await run.to(at(SECOND, 9, 15, 5), 1.0)  # the first minute counts if it is seen from its begin
        await run.to(at(SECOND, 9, 18, 5), 2.5)
        assert health(run.ingestion)["problems"] == []

    async def half(run: Turned) -> None:
        ingestion = run.ingestion
        while health(ingestion)["status"] == "healthy" and run.dial.now() < at(SECOND, 9, 20):
            await run.to(run.dial.now() + timedelta(seconds=5), 2.5)
        said = health(ingestion)
        assert said["status"] == "unhealthy", websocket_status(ingestion)["connections"]
        assert "is slow" in said["problems"][0]
        (connection,) = websocket_status(ingestion)["connections"]
        assert connection["verdict"] == "slow"
        assert 0.4 < connection["frames_per_s"] / connection["frames_per_s_usual"] < 0.6
        assert ingestion.watchdog.alarms["1"].slow == 1
        run.simulator.faults.skip_every = 0
        await run.to(run.dial.now() + timedelta(minutes=2), 2.5)
        assert health(ingestion)["status"] == "healthy" and health(ingestion)["conditions"] == []
        assert run.feed.stats.connections == 1

    asyncio.run(played(Faults(), usual))
    stored = json.loads((home / "habits.json").read_text())
    ((owner, connections),) = stored.items()
    learnt = connections["1"]
    assert sorted(map(int, learnt)) == [9 * 60 + 15, 9 * 60 + 16, 9 * 60 + 17]
    rate = learnt[str(9 * 60 + 16)][0]
    known = UsualRates()
    for days, minute in product(range(5, 0, -1), range(30)):
        known.learn(at(SECOND, 9, 15 + minute) - timedelta(days=days), rate * (1 + days % 2 / 50), 60)
    (home / "habits.json").write_text(json.dumps({owner: {"1": known.dump()}}))
    asyncio.run(played(Faults(skip_every=2), half, int(owner.rpartition(":")[2])))
