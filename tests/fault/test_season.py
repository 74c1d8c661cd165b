"""A day and the next open, by a clock that is turned: what is subscribed, how often is asked, what alarms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import astuple
from datetime import date, datetime
from pathlib import Path

import pytest

from ingest.cli.login import store_token
from ingest.config import settings
from ingest.life import State
from ingest.service import Service
from ingest.simulator.server import Simulator
from ingest.status import health
from ingest.supervisor import Progress, start
from ingest.universe_keeper import UniverseKeeper
from sql.database import Database
from tests.fault.live import until
from tests.fault.season import EXPIRIES, FIRST, IST, MONTHS, SECOND, SHARE, SPOT, STRIKES, Dial, Season, at

AROUND = 2  # strikes on each side


def nifty(now: datetime) -> float:
    """26,000 until ten, then 240 higher within half an hour; the next day opens lower."""
    if (now + IST).date() > FIRST and now >= at(SECOND, 9, 15):
        return 25_912.0
    minutes = (now - at(FIRST, 10, 0)).total_seconds() / 60
    return 26_002.0 + 240.0 * min(max(minutes / 30, 0.0), 1.0)


class Day:
    """The run: its clock, its two sides, and how the time is moved on."""

    def __init__(
        self, dial: Dial, simulator: Simulator, season: Season, service: Service, running: asyncio.Task[Progress]
    ) -> None:
        self.running = running
        self.dial, self.simulator, self.season, self.service = dial, simulator, season, service
        self.feed = service.lines[0].feed

    async def to(self, then: datetime, step_s: float = 10.0) -> None:
        """Turn the clock to a time, step by step; after each, both sides have done what was due."""
        while (left_s := (then - self.dial.now()).total_seconds()) > 0:
            self.dial.turn(min(step_s, left_s))
            await self.settled()

    async def settled(self) -> None:
        """Wait until what was sent is committed and the player, the watch and the universe wait for the clock."""
        line = self.service.lines[0]

        def is_settled() -> bool:
            if self.running.done():
                self.running.result()
            sent = all(not connection._waiting for connection in self.simulator.player.connections)
            return sent and self.dial.sleepers >= 3 and not line.feed.spool._records and not line.reader.backlog_bytes()

        for _ in range(2):  # what one side did may be for the other
            await asyncio.sleep(0.002)
            await until(is_settled)

    @property
    def subscribed(self) -> set[str]:
        """What the server sends."""
        return {key for connection in self.simulator.player.connections for key in connection.modes}

    def wanted(self, centre: int, options: date, futures: list[date]) -> set[str]:
        """What it should send."""
        at_centre = STRIKES.index(centre)
        strikes = STRIKES[at_centre - AROUND : at_centre + AROUND + 1]
        contracts = {key for strike in strikes for key in self.season.options[options, strike]}
        return {SPOT, SHARE} | contracts | {self.season.futures[expiry] for expiry in futures}

    @property
    def attempts(self) -> int:
        """How often a feed URI was asked for."""
        return self.simulator.asked["authorize"]


async def through_the_day(day: Day, database: Database, home: Path) -> None:
    simulator, feed = day.simulator, day.feed
    watch = day.service.watch
    # Before the open: by the prices that REST has, nothing of the feed has come.
    first_window = day.wanted(26_000, EXPIRIES[0], MONTHS[:2])
    await until(lambda: day.subscribed == first_window)
    await day.to(at(FIRST, 9, 14, 50))
    assert day.subscribed == first_window
    assert day.attempts == 1
    # Open: each key is heard of, and the window follows the spot.
    await day.to(at(FIRST, 9, 16))
    assert feed.life.state is State.LIVE and health(day.service)["status"] == "healthy"
    assert sorted(key for key in feed.states._keys) == sorted(first_window)
    await day.to(at(FIRST, 9, 50), 300.0)
    assert day.subscribed == first_window
    await day.to(at(FIRST, 10, 5))
    assert day.subscribed == day.wanted(26_050, EXPIRIES[0], MONTHS[:2])
    await day.to(at(FIRST, 10, 35), 30.0)
    last_window = day.wanted(26_250, EXPIRIES[0], MONTHS[:2])
    assert day.subscribed == last_window
    await day.to(at(FIRST, 15, 39, 50), 300.0)
    assert day.subscribed == last_window and day.attempts == 1
    # The close of the derivatives: contracts roll; the share goes on.
    before = ticks_of(database, SHARE)
    await day.to(at(FIRST, 15, 41))
    rolled = day.wanted(26_250, EXPIRIES[1], MONTHS[1:3])
    assert day.subscribed == rolled
    await day.to(at(FIRST, 15, 59), 60.0)
    await until(lambda: ticks_of(database, SHARE) > before + 200)
    assert feed.stats.connections == 1
    await the_night(day, home, rolled)
    # The next open.
    await day.to(at(SECOND, 9, 14, 50), 60.0)
    assert day.subscribed == rolled
    await day.to(at(SECOND, 9, 16))
    assert feed.life.state is State.LIVE and health(day.service)["status"] == "healthy"
    opened = day.wanted(25_900, EXPIRIES[1], MONTHS[1:3])
    assert day.subscribed == opened
    await day.to(at(SECOND, 9, 17))
    assert astuple(watch.alarms["1"]) == (0, 0, 0, 0, 0)
    assert (feed.stats.reconnects, feed.stats.ping_timeouts) == (0, 0)
    assert simulator.asked["connect"] == feed.stats.connections == 3


async def the_night(day: Day, home: Path, rolled: set[str]) -> None:
    """Refused for two hours, then a token that ends; nobody is asked more than now and then."""
    simulator, feed = day.simulator, day.feed
    await day.to(at(FIRST, 18, 0), 300.0)
    assert day.attempts == 1 and day.subscribed == rolled
    simulator.faults.refuse = 403
    simulator.drop_all()
    await day.to(at(FIRST, 20, 0), 60.0)
    assert feed.life.state is State.MARKET_CLOSED and health(day.service)["status"] == "healthy"
    assert 7 <= day.attempts - 1 <= 9  # once in 15 minutes
    simulator.faults.refuse = None
    await day.to(at(FIRST, 20, 16), 60.0)
    assert day.subscribed == rolled
    attempts = day.attempts
    await day.to(at(SECOND, 3, 30), 900.0)
    assert day.attempts == attempts
    simulator.token = "tomorrow"
    simulator.drop_all()
    await day.to(at(SECOND, 4, 0), 60.0)
    assert feed.life.state is State.WAITING_FOR_TOKEN
    await day.to(at(SECOND, 7, 0), 300.0)
    assert day.attempts - attempts <= 12 * 3.5  # a refused token rests for five minutes
    assert not day.subscribed
    store_token(home / ".env", "tomorrow")
    await day.to(at(SECOND, 7, 1))
    assert day.subscribed == rolled


def ticks_of(database: Database, key: str) -> int:
    with database.connect(autocommit=True) as connection:
        row = connection.execute(
            "select count(*) from ticks join instruments using (instrument_id) where instrument_key = %s", (key,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def season_of(dial: Dial) -> Season:
    return Season(dial.now, nifty)


def test_season_of_a_day_a_night_and_the_next_open(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.delenv("UPSTOX_ACCESS_TOKEN", raising=False)
    asyncio.run(run(database, home, through_the_day))
    with database.connect(autocommit=True) as connection:
        gaps = connection.execute(
            "select reason, started_at, ended_at from feed_gaps where instrument_id is null order by started_at"
        ).fetchall()
        loaded = connection.execute("select count(*) from tickline.master_loads").fetchone()
    assert [reason for reason, *_ in gaps] == ["no close frame", "no close frame"]  # of 18:00 and of 03:30
    assert loaded == (2,)  # once each morning


async def run(database: Database, home: Path, course: Callable[[Day, Database, Path], Awaitable[None]]) -> None:
    dial = Dial(at(FIRST, 8, 50))
    season = season_of(dial)
    async with Simulator(season, settle_s=0.0, timepiece=dial) as simulator:
        config = settings(
            home=home,
            upstox_api_url=simulator.url,
            upstox_assets_url=simulator.url,
            upstox_access_token=simulator.token,
            universe="INFY",
            underlyings="NIFTY",
            option_strikes=AROUND,
            subscribe_interval_ms=0,
            backfill_s=0,
        )
        keeper = UniverseKeeper(config, database.url)
        keys = (await keeper.wanted(dial.now())).keys
        stop, seen = asyncio.Event(), list[Progress]()
        running = asyncio.create_task(
            start(config, database.url, keys, stop=stop, keeper=keeper, ready=seen.append, timepiece=dial)
        )
        await until(lambda: bool(seen) or running.done())
        if running.done():
            await running
        assert seen[0].service is not None
        day = Day(dial, simulator, season, seen[0].service, running)
        try:
            await course(day, database, home)
        finally:
            stop.set()
            await running
