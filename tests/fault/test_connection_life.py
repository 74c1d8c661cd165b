"""What the vendor's side does wrong, against `start`: each time the feed is live again by itself."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.audit.journal_check import verify_stream
from ingest.cli.progress import ProgressLine
from ingest.cli.record.login import store_token
from ingest.database.connections import Database
from ingest.feed.key_states import KeyState
from ingest.feed.lifecycle import State
from ingest.journal.folder import segments_of
from ingest.live.observe.health import health
from ingest.live.status import websocket_status
from ingest.model.records import RecordKind
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.app import Simulator
from ingest.simulator.server.faults import Faults
from ingest.time_source import TimeSource, now_us
from ingest.universe.connection_plan import LIMITS, Limit
from tests.engines import on_one_engine
from tests.fault.harness import RecordProperty, records_of
from tests.fault.live import DAY, Forward, Running, market, running, until

pytestmark = on_one_engine


def gaps(database: Database, home: Path) -> list[str]:
    """Why we were not listening, of whole connections; each gap lasts from the last frame before to the first after."""
    with database.connect(autocommit=True) as connection:
        found = connection.execute(
            "select reason, started_at, ended_at from feed_gaps where instrument_id is null order by connection, gap_id"
        ).fetchall()
    streams = [path for path in sorted((home / "journal" / "default").iterdir()) if path.is_dir()]
    journalled = [gap for folder in streams for gap in gaps_of(folder)]
    assert [(started.timestamp() * 1000, ended.timestamp() * 1000) for _, started, ended in found] == journalled
    return [reason for reason, *_ in found]


def gaps_of(folder: Path) -> list[tuple[float, float]]:
    """Times, epoch milliseconds, between frames that another connection brought each."""
    found, last_ms, lost = [], 0, False
    for _, record in records_of(folder) if segments_of(folder) else ():
        if record.kind == RecordKind.CONNECTED:
            lost = bool(last_ms)
        elif record.kind == RecordKind.FRAME:
            ms = pb.FeedResponse.FromString(record.payload).currentTs
            if lost:
                found.append((float(last_ms), float(max(ms, last_ms))))
            last_ms, lost = ms, False
    return found


def test_connection_that_ends_is_live_again_and_leaves_one_gap_each_time(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home) as run:
            await run.live()
            run.simulator.drop_all()
            for times, code in enumerate((1000, 1001, 1011), 2):
                await run.live(connections=times)
                await run.simulator.close_all(code)
            await run.live(connections=5)

    asyncio.run(run())
    assert len(gaps(database, home)) == 4


def test_refusal_is_survived_and_the_gap_lasts_as_long(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.upstox.tokens.RETRY_S", 0.1)

    async def run() -> None:
        async with running(database, home, token_poll_s=0.05) as run:
            simulator, feed = run.simulator, run.ingestion.streams[0].feed
            for times, status in enumerate((401, 403, 429), 1):
                await run.live(connections=times)
                tries = simulator.asked["authorize"]
                simulator.faults.refuse = status
                simulator.drop_all()
                waiting = State.WAITING_FOR_TOKEN if status == 401 else State.BACKING_OFF
                await until(lambda: simulator.asked["authorize"] > tries + 2 and feed.life.state is waiting)  # noqa: B023
                assert str(status) in feed.error.text
                simulator.faults.refuse = None
            await run.live(connections=4)

    asyncio.run(run())
    assert len(gaps(database, home)) == 3


def test_one_connection_that_dies_does_not_disturb_the_other(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home, market(3_525, 500.0), subscribe_interval_ms=1) as run:
            first, second = run.ingestion.streams
            assert [len(stream.feed.keys) for stream in (first, second)] == [2_000, 1_525]
            await until(lambda: run.confirmed == 3_525)
            await run.live(connections=2)
            run.simulator.drop_one()
            await run.live(connections=3)
            assert sorted(stream.feed.stats.connections for stream in (first, second)) == [1, 2]
            await until(lambda: run.confirmed == 3_525)

    asyncio.run(run())
    assert len(gaps(database, home)) == 1
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
        async with Simulator(source, speed=1.0, faults=Faults(mute=set(mute))) as simulator:
            clock = Forward()
            run = Running(simulator, database, home, clock, confirm_s=30.0)
            await run.begin(sorted(source.keys))
            states = run.ingestion.streams[0].feed.states
            await until(lambda: run.confirmed == len(source.keys) - 7)
            clock.ahead_s = 31.0
            await until(lambda: sorted(states.in_state(KeyState.FAILED)) == mute)
            assert all(key in caplog.text for key in mute)
            assert run.confirmed == len(source.keys) - 7
            simulator.faults.mute.clear()
            run.ingestion.streams[0].feed.ask_again(mute)
            await until(lambda: run.confirmed == len(source.keys))
            assert run.ingestion.watchdog.alarms["1"].failed == 7
            await run.end()

    asyncio.run(run())


@pytest.mark.soak  # a measured time
def test_156_keys_are_confirmed_within_5_s_and_a_reconnect_commits_within_2(
    database: Database, home: Path, record_property: RecordProperty
) -> None:
    async def run() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        async with running(
            database, home, market(156), subscribe_interval_ms=1000, backoff_first_s=2.0, backoff_max_s=60.0
        ) as run:
            began = loop.time()
            await until(lambda: run.confirmed == 156)
            confirmed_s = loop.time() - began
            monotonic = run.ingestion.streams[0].feed.life
            monotonic._live_s -= 60  # as after a good minute
            run.simulator.drop_all()
            began = loop.time()
            await run.live(connections=2)
            return confirmed_s, loop.time() - began

    confirmed_s, live_s = asyncio.run(run())
    record_property("confirmed_s", round(confirmed_s, 2))
    record_property("reconnected_s", round(live_s, 2))
    assert confirmed_s < 5.0
    assert live_s < 2.0


@pytest.mark.parametrize("route", ["authorize", "direct"])
def test_token_that_ends_in_mid_session_is_replaced_by_the_new_one_in_env_file(
    database: Database, home: Path, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the redirect of the direct route is followed each time, whatever its status."""
    monkeypatch.chdir(home)
    monkeypatch.delenv("UPSTOX_ACCESS_TOKEN", raising=False)

    async def run() -> None:
        async with running(database, home, token_poll_s=0.05, feed_route=route) as run:
            await run.live()
            run.simulator.expire_token("token-of-tomorrow")
            feed = run.ingestion.streams[0].feed
            await until(lambda: feed.life.state is State.WAITING_FOR_TOKEN)
            store_token(home / ".env", "token-of-tomorrow")
            await run.live(connections=2)
            assert run.simulator.redirect_status == 302
            run.simulator.redirect_status = 307
            run.simulator.drop_all()
            await run.live(connections=3)

    asyncio.run(run())
    assert len(gaps(database, home)) == 2


SPOILT = {"skip_every": 2, "repeat_every": 3, "swap_every": 3, "text_every": 5, "huge_every": 50}


def test_spoilt_frames_neither_end_the_connection_nor_count_volume_twice(database: Database, home: Path) -> None:
    """Half of the frames, frames that come twice, out of turn, between texts, or larger than 1 MiB, in turn."""

    async def run() -> tuple[int, int, int]:
        async with running(database, home, speed=20.0) as run:
            stream = run.ingestion.streams[0]
            stats, counts = stream.feed.stats, stream.consumer.counts
            for fault, every in SPOILT.items():
                setattr(run.simulator.faults, fault, every)
                ticks = run.ticks
                await until(lambda: run.ticks > ticks + 2_000)  # noqa: B023
                assert (counts.rejected, counts.quarantined) == (0, 0), fault
                setattr(run.simulator.faults, fault, 0)
        assert stats.connections == 1 and stats.text_frames
        assert (counts.rejected, counts.quarantined) == (0, 0)
        return stats.frames, counts.frames, counts.ticks

    received, committed, ticks = asyncio.run(run())
    assert received == committed
    with database.connect() as connection:
        # A day's volume is that of its last update, whatever was repeated or came out of turn.
        assert connection.execute(
            "select count(*) from (select sum(volume) as counted, max(vtt) - min(vtt - volume) as traded from ticks"
            " group by instrument_id) as day where counted <> traded"
        ).fetchone() == (0,)
        assert connection.execute("select count(*) from ticks").fetchone() == (ticks,)


def market_ms(run: Running) -> float:
    at = run.ingestion.watchdog.market_time()
    return at.timestamp() * 1000 if at is not None else math.nan


def test_clock_that_is_6_s_slow_moves_no_tick(database: Database, home: Path) -> None:
    class Slow(TimeSource):
        def now_us(self) -> int:
            return now_us() - 6_000_000

    async def run() -> None:
        async with running(database, home, time_source=Slow()) as run:
            await until(lambda: run.confirmed == 60)
            await run.live()
            # By our clock it would be six seconds off for ever.
            await until(lambda: abs(market_ms(run) - run.simulator.player.current_ms) < 3_000)

    asyncio.run(run())
    with database.connect() as connection:
        assert connection.execute("select min(ts)::date, max(ts)::date from ticks").fetchone() == (DAY, DAY)


def test_keys_beyond_the_vendors_limit_are_named_within_seconds(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "full", Limit(5_000, 5_000))  # as if the vendor had lowered its own

    async def run() -> None:
        clock = Forward()
        given: dict[str, Any] = {"subscribe_interval_ms": 1, "confirm_s": 30.0, "time_source": clock}
        async with running(database, home, market(3_525, 500.0), **given) as run:
            states = run.ingestion.streams[0].feed.states
            await until(lambda: run.confirmed == 2_000)
            clock.ahead_s = 31.0
            await until(lambda: len(states.in_state(KeyState.FAILED)) == 1_525)
            carried = run.simulator.subscribed
            assert set(states.in_state(KeyState.FAILED)) == set(run.ingestion.keys) - carried.keys()
            assert len(websocket_status(run.ingestion)["failed_keys"]) == 1_525

    asyncio.run(run())


@pytest.mark.parametrize("times", [pytest.param(6, id="short"), pytest.param(100, id="100", marks=pytest.mark.soak)])
def test_random_disconnects_lose_only_what_was_not_sent(database: Database, home: Path, times: int) -> None:
    rng = random.Random(times)

    async def run() -> tuple[int, int]:
        async with running(database, home) as run:
            for number in range(1, times + 1):
                await run.live(connections=number)
                await asyncio.sleep(rng.random() * 0.3)
                # Aborting a socket takes what is on its way with it; a close comes behind what was sent.
                await run.simulator.close_all(rng.choice([1000, 1001, 1011, 1012]))
            await run.live(connections=times + 1)
            run.simulator.faults.mute.update(run.simulator.source.keys)
            feed = run.ingestion.streams[0].feed
            await until(lambda: feed.stats.frames == run.simulator.frames_sent)
            return feed.stats.frames, times

    frames, _ = asyncio.run(run())
    assert len(gaps(database, home)) == times
    with database.connect(autocommit=True) as connection:
        report = verify_stream(connection, "default", home / "journal" / "default" / "1")
        assert report.adds_up, report.problems
        assert (report.frames, report.pending) == (frames, 0)


def test_closed_market_is_silent_without_alarm_and_left_alone(
    database: Database, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No storm at night: one try in `closed_retry_s`; and what comes back then is taken."""
    monkeypatch.setattr("ingest.market.segment_states.LINGER", timedelta(0))
    hours = TradingDay(DAY, opens=time(15, 38), cash_closes=time(15, 39), derivatives_close=time(15, 40))
    short = GeneratedMarket(hours, seed=3, instruments=60, rate=60.0)

    async def run() -> None:
        async with running(database, home, short, speed=30.0, closed_retry_s=0.5, confirm_s=0.5) as run:
            stream, watchdog = run.ingestion.streams[0], run.ingestion.watchdog
            await until(lambda: run.simulator.finished.is_set() and not watchdog.is_open(stream))
            await until(lambda: stream.consumer.counts.frames == run.simulator.frames_sent)
            assert health(run.ingestion)["status"] == "healthy"
            before = replace(watchdog.alarms["1"])
            await asyncio.sleep(2.5)
            assert watchdog.alarms["1"] == before
            line = ProgressLine(every_s=0.0)
            line(run.parts)
            assert caplog.text.count(" ingesting received=") == 1  # of what came since the last line
            line(run.parts)
            assert caplog.text.count(" ingesting received=") == 1
            run.simulator.faults.refuse = 403
            run.simulator.drop_all()
            await until(lambda: stream.feed.life.state is State.MARKET_CLOSED)
            caplog.clear()
            began = asyncio.get_running_loop().time()
            await until(lambda: caplog.text.count("market closed, feed left alone") >= 3)
            assert asyncio.get_running_loop().time() - began > 0.75  # two waits; a slow machine takes longer
            assert "trying again" not in caplog.text
            assert health(run.ingestion)["status"] == "healthy"
            run.simulator.faults.refuse = None
            await until(lambda: stream.feed.stats.connections == 2)

    caplog.set_level("INFO")
    asyncio.run(run())


def test_fault_of_ours_beside_the_feed_costs_no_tick_and_is_said(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in a background task is shown by `/health`, counted, and the task begins again."""

    async def run() -> None:
        async with running(database, home) as run:
            await run.live()
            watchdog = run.ingestion.watchdog
            look, broken = watchdog.look, [True]

            def look_or_fail(at_s: float) -> None:
                if broken:
                    raise RecursionError("a bug")
                look(at_s)

            monkeypatch.setattr(watchdog, "look", look_or_fail)
            await until(lambda: run.ingestion.fence.failures["watch"] >= 2)
            assert any(text.startswith("watch failed: RecursionError") for text in health(run.ingestion)["warnings"])
            ticks = run.ticks
            await until(lambda: run.ticks > ticks)
            broken.clear()
            looked = watchdog.market_time()
            await until(lambda: watchdog.market_time() != looked)

    asyncio.run(run())
