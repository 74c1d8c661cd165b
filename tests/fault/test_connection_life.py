"""What the vendor's side does wrong, against `start`: each time the feed is live again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ingest.keystates import KeyState
from ingest.life import State
from ingest.simulator.server import Simulator
from sql.database import Database
from tests.fault.live import Running, market, running, until


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
