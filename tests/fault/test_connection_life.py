"""What the vendor's side does wrong, against `start`: each time the feed is live again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingest.config import settings
from ingest.keystates import KeyState
from ingest.life import State
from ingest.service import Service
from ingest.simulator.market import GeneratedMarket
from ingest.simulator.server import Simulator
from ingest.simulator.session import Session, latest_weekday
from ingest.supervisor import Progress, start
from sql.database import Database

DAY = latest_weekday(date(2026, 11, 19))
WITHIN_S = 60.0


def market(instruments: int = 60, rate: float = 600.0) -> GeneratedMarket:
    return GeneratedMarket(Session(DAY), seed=3, instruments=instruments, rate=rate)


class Running:
    """`start` on a simulator, in this process."""

    def __init__(self, simulator: Simulator, database: Database, home: Path, **given: Any) -> None:
        self.simulator, self.database = simulator, database
        values: dict[str, Any] = {
            "home": home,
            "upstox_api_url": simulator.url,
            "upstox_assets_url": simulator.url,
            "upstox_access_token": simulator.token,
            "backoff_first_s": 0.05,
            "backoff_max_s": 0.2,
            "subscribe_interval_ms": 10,
            "backfill_s": 0,
        }
        self.config = settings(**values | given)
        self._stop = asyncio.Event()
        self._seen: list[Progress] = []

    async def begin(self, keys: list[str]) -> None:
        self._task = asyncio.create_task(
            start(self.config, self.database.url, keys, stop=self._stop, ready=self._seen.append)
        )
        await until(lambda: bool(self._seen) or self._task.done())
        if self._task.done():
            await self._task

    @property
    def service(self) -> Service:
        service = self._seen[0].service
        assert service is not None
        return service

    @property
    def ticks(self) -> int:
        return sum(line.consumer.account.ticks for line in self.service.lines)

    @property
    def confirmed(self) -> int:
        return sum(line.feed.states.counts()[KeyState.CONFIRMED] for line in self.service.lines)

    async def live(self, connections: int = 1) -> None:
        """Wait until ticks are committed on so many connections made in all."""
        ticks = self.ticks

        def is_live() -> bool:
            feeds = [line.feed for line in self.service.lines if line.feed.keys]
            made = sum(feed.stats.connections for feed in feeds)
            return made >= connections and all(feed.life.state is State.LIVE for feed in feeds) and self.ticks > ticks

        await until(is_live)

    async def end(self) -> None:
        self._stop.set()
        await self._task


@asynccontextmanager
async def running(database: Database, home: Path, source: Any = None, *, speed: float = 1.0, **given: Any) -> Any:
    options = {name: given.pop(name) for name in ("connections_max", "redirect_status") if name in given}
    async with Simulator(source or market(), speed=speed, **options) as simulator:
        run = Running(simulator, database, home, **given)
        await run.begin(sorted(simulator.source.keys))
        yield run
        await run.end()


async def until(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


def gaps(database: Database) -> list[str]:
    """Why we were not listening, of whole connections."""
    with database.connect(autocommit=True) as connection:
        found = connection.execute("select reason from feed_gaps where instrument_id is null order by gap_id")
        return [reason for (reason,) in found.fetchall()]


async def drop(run: Running) -> None:
    run.simulator.drop_all()


def closed_with(code: int) -> Callable[[Running], Awaitable[None]]:
    async def close(run: Running) -> None:
        await run.simulator.close_all(code)

    return close


@pytest.mark.parametrize(
    "fault",
    [drop, closed_with(1000), closed_with(1001), closed_with(1011)],
    ids=["dropped", "1000", "1001", "1011"],
)
def test_connection_that_ends_is_live_again_and_leaves_one_gap(
    database: Database, home: Path, fault: Callable[[Running], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with running(database, home) as run:
            await run.live()
            await fault(run)
            await run.live(connections=2)

    asyncio.run(run())
    assert len(gaps(database)) == 1


@pytest.mark.parametrize("status", [401, 403, 429])
def test_refusal_is_survived_and_the_gap_lasts_as_long(
    database: Database, home: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.tokens.RETRY_S", 0.3)

    async def run() -> None:
        async with running(database, home, token_poll_s=0.05) as run:
            await run.live()
            run.simulator.faults.refuse = status
            run.simulator.drop_all()
            feed = run.service.lines[0].feed
            waiting = State.WAITING_FOR_TOKEN if status == 401 else State.BACKING_OFF
            await until(lambda: feed.life.state is waiting)
            await asyncio.sleep(0.5)
            assert str(status) in feed.stats.last_error
            run.simulator.faults.refuse = None
            await run.live(connections=2)

    asyncio.run(run())
    assert len(gaps(database)) == 1


def test_one_connection_that_dies_does_not_disturb_the_other(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home, market(3_525, 2_000.0), subscribe_interval_ms=1) as run:
            first, second = run.service.lines
            assert [len(line.feed.keys) for line in (first, second)] == [2_000, 1_525]
            await until(lambda: run.confirmed == 3_525)
            await run.live(connections=2)
            next(iter(run.simulator._clients)).abort()
            await run.live(connections=3)
            assert sorted(line.feed.stats.connections for line in (first, second)) == [1, 2]
            await until(lambda: run.confirmed == 3_525)

    asyncio.run(run())
    assert len(gaps(database)) == 1
    with database.connect(autocommit=True) as connection:
        assert connection.execute(
            "select count(*) - count(distinct (instrument_id, seq)), count(distinct instrument_id) from ticks"
        ).fetchall() == [(0, 3_525)]


def test_muted_keys_are_named_and_asked_for_again(
    database: Database, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        source = market()
        mute = sorted(source.keys)[:7]
        async with Simulator(source, speed=1.0) as simulator:
            simulator.faults.mute.update(mute)
            run = Running(simulator, database, home, confirm_s=1.0)
            await run.begin(sorted(source.keys))
            states = run.service.lines[0].feed.states
            await until(lambda: sorted(states.in_state(KeyState.FAILED)) == mute)
            assert all(key in caplog.text for key in mute)
            assert run.confirmed == len(source.keys) - 7
            simulator.faults.mute.clear()
            run.service.lines[0].feed.ask_again(mute)
            await until(lambda: run.confirmed == len(source.keys))
            assert run.service.watch.alarms["1"].failed == 7
            await run.end()

    asyncio.run(run())


def test_156_keys_are_confirmed_within_5_s_and_a_reconnect_commits_within_2(database: Database, home: Path) -> None:
    async def run() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        async with running(
            database, home, market(156), subscribe_interval_ms=1000, backoff_first_s=2.0, backoff_max_s=60.0
        ) as run:
            began = loop.time()
            await until(lambda: run.confirmed == 156)
            confirmed_s = loop.time() - began
            monotonic = run.service.lines[0].feed.life
            monotonic._live_s -= 60  # as after a good minute
            await drop(run)
            began = loop.time()
            await run.live(connections=2)
            return confirmed_s, loop.time() - began

    confirmed_s, live_s = asyncio.run(run())
    assert confirmed_s < 5.0
    assert live_s < 2.0
