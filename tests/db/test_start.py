"""`start` against the simulator: real sockets, both engines."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.errors import ConfigError, JournalError, StoreError
from ingest.feed.lifecycle import State
from ingest.live.supervisor import Run, start
from ingest.pipeline.replay import replay
from ingest.settings import Settings, settings
from ingest.simulator.recorded import RecordedMarket
from ingest.simulator.server.app import Simulator
from tests.data import data_file
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S
from tests.simulated import settings_for

SESSION = "session-20251215-open.frames.gz"
# What a tick says of the market; seq and received_at say how it came to us.
MARKET = """
    select instrument_key, ts, traded, ltp, ltq, ltt, vtt, volume, oi, atp, tbq, tsq, bid, bid_qty, ask, ask_qty,
        iv, delta, gamma, theta, vega, rho, day_open, day_high, day_low, prev_close
    from ticks join instruments using (instrument_id) order by instrument_key, {order}
"""


def configured(simulator: Simulator, home: Path, **given: Any) -> Settings:
    values: dict[str, Any] = settings_for(simulator, home) | {
        "backoff_first_s": 0.05,
        "backoff_max_s": 0.2,
        "subscribe_interval_ms": 50,
    }
    return settings(**values | given)


async def ingest(
    simulator: Simulator,
    database: Database,
    config: Settings,
    keys: list[str],
    until: Callable[[Run], bool],
) -> Run:
    """Run `start` until a condition on its progress holds."""
    stop = asyncio.Event()
    seen: list[Run] = []

    async def watch() -> None:
        while not (seen and until(seen[-1])):
            await asyncio.sleep(0.02)
        stop.set()

    async with asyncio.timeout(3 * WITHIN_S):
        watching = asyncio.create_task(watch())
        running = asyncio.create_task(start(config, database.url, keys, stop=stop, ready=seen.append))
        done, _ = await asyncio.wait([watching, running], return_when=asyncio.FIRST_COMPLETED)
        if running in done:
            watching.cancel()
        return await running


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(statement).fetchall()


def test_subscription_that_fails_ends_the_process_and_not_the_flow_of_frames_only(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch, short_session: Path
) -> None:
    """A connection that has asked for nothing is up, and silent for ever."""

    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr("ingest.feed.connection.request", broken)

    async def run() -> None:
        source = RecordedMarket(short_session)
        async with Simulator(source) as simulator:
            await ingest(simulator, database, configured(simulator, home), ["NSE_FO|51460"], lambda _: False)

    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(run())


@on_one_engine
@pytest.mark.parametrize(
    ("route", "recording", "ticks"),
    [
        ("authorize", "short_session", 21_100),
        pytest.param("authorize", "session", 209_928, marks=pytest.mark.soak),
        pytest.param("direct", "session", 209_928, marks=pytest.mark.soak),
    ],
)
def test_session_through_the_socket_gives_the_ticks_of_a_replay(
    database: Database,
    template: Any,
    home: Path,
    request: pytest.FixtureRequest,
    route: str,
    recording: str,
    ticks: int,
) -> None:
    path = request.getfixturevalue(recording)

    async def through_the_socket() -> Run:
        async with Simulator(RecordedMarket(path), speed=math.inf) as simulator:
            config = configured(simulator, home, feed_route=route)
            return await ingest(
                simulator,
                database,
                config,
                sorted(simulator.source.keys),
                lambda progress: progress.consumer.counts.ticks >= ticks,
            )

    progress = asyncio.run(through_the_socket())
    assert progress.feed is not None
    assert progress.feed.stats.frames == progress.consumer.counts.frames
    assert rows(database, "select count(*) from ticks") == [(ticks,)]
    with Database(template.create("by_replay"), None) as other:
        asyncio.run(replay(Settings(), other.url, [path]))
        # By seq, but for the snapshots: the socket sends those of late keys first.
        order = "ts, vtt, seq"
        assert rows(database, MARKET.format(order=order)) == rows(other, MARKET.format(order=order))
    template.drop("by_replay")


@on_one_engine
def test_stop_commits_what_was_received_and_restart_goes_on(database: Database, home: Path) -> None:
    path = data_file(SESSION)

    async def in_two_runs() -> tuple[Run, Run]:
        async with Simulator(RecordedMarket(path), speed=math.inf) as simulator:
            config = configured(simulator, home)
            keys = sorted(simulator.source.keys)
            first = await ingest(
                simulator, database, config, keys, lambda progress: progress.consumer.counts.ticks > 20_000
            )
            second = await ingest(
                simulator, database, config, keys, lambda progress: progress.consumer.counts.frames > 1_000
            )
            return first, second

    first, second = asyncio.run(in_two_runs())
    assert first.feed is not None and second.feed is not None
    for progress in (first, second):
        assert progress.feed.stats.frames == progress.consumer.counts.frames
    ledger = rows(database, "select offset_start, offset_end, segment from tickline.ledger order by batch_id")
    for one, two in zip(ledger, ledger[1:], strict=False):
        assert two[0] == (one[1] if one[2] == two[2] else 0)
    assert len({segment for *_, segment in ledger}) == 2
    written = sum(progress.consumer.counts.ticks for progress in (first, second))
    assert rows(database, "select count(*), count(distinct (instrument_id, seq)) from ticks") == [(written, written)]


@on_one_engine
def test_dropped_connection_is_made_again_with_a_new_code(database: Database, home: Path) -> None:
    async def with_drops() -> Run:
        async with Simulator(RecordedMarket(data_file(SESSION)), speed=math.inf) as simulator:
            dropped = 0

            def until(progress: Run) -> bool:
                nonlocal dropped
                stats = progress.feed.stats
                connected = stats.connections == dropped + 1  # otherwise there is nothing to drop
                if connected and stats.frames > 2_000 * (dropped + 1) and dropped < 3:
                    dropped += 1
                    simulator.drop_all()
                return progress.feed.stats.connections == 4 and progress.consumer.counts.frames > 10_000

            return await ingest(simulator, database, configured(simulator, home), sorted(simulator.source.keys), until)

    progress = asyncio.run(with_drops())
    assert progress.feed.stats.connections == 4
    assert progress.feed.stats.frames == progress.consumer.counts.frames
    # On a busy machine this market, hours in seconds, runs away while a connection is made: a silence of the feed.
    gaps = rows(
        database,
        "select started_at, ended_at, reason from feed_gaps where instrument_id is null and reason not like 'silence%'",
    )
    assert len(gaps) == 3
    # Where the market did not move meanwhile, the snapshot has the time of the last frame: a gap of no length.
    assert all(started <= ended for started, ended, _ in gaps)
    assert [reason for *_, reason in gaps] == ["no close frame"] * 3


@on_one_engine
@pytest.mark.parametrize("route", ["authorize", "direct"])
def test_refused_token_is_said_once_and_a_new_one_in_env_file_is_taken(
    database: Database,
    home: Path,
    route: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    short_session: Path,
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.delenv("UPSTOX_ACCESS_TOKEN", raising=False)

    async def refused() -> Run:
        async with Simulator(RecordedMarket(short_session), speed=math.inf) as simulator:
            config = configured(
                simulator, home, upstox_access_token="wrong-secret", token_poll_s=0.02, feed_route=route
            )
            waited = 0

            def until(progress: Run) -> bool:
                nonlocal waited
                waited += progress.feed.life.state is State.WAITING_FOR_TOKEN
                if waited == 20:
                    (home / ".env").write_text(f"UPSTOX_ACCESS_TOKEN={simulator.token}\n")
                return progress.consumer.counts.ticks > 1_000

            return await ingest(simulator, database, config, sorted(simulator.source.keys), until)

    progress = asyncio.run(refused())
    assert progress.feed.stats.connections == 1
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1 and "401" in said[0] and "tickline login" in said[0]
    assert "wrong-secret" not in caplog.text


def test_no_token_is_said_before_anything_is_started(database: Database, home: Path) -> None:
    config = settings(home=home, upstox_access_token=None)
    with pytest.raises(ConfigError, match="set UPSTOX_ACCESS_TOKEN"):
        asyncio.run(start(config, database.url, ["NSE_EQ|X"], stop=asyncio.Event()))


def test_second_ingester_on_one_journal_or_one_collector_is_refused(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch, short_session: Path
) -> None:
    monkeypatch.setattr("ingest.store.writer.LOCK_SECONDS_MAX", 0.1)

    async def twice() -> None:
        async with Simulator(RecordedMarket(short_session), speed=1.0) as simulator:
            keys = sorted(simulator.source.keys)
            stop = asyncio.Event()
            running: list[Run] = []
            first = asyncio.create_task(
                start(configured(simulator, home), database.url, keys, stop=stop, ready=running.append)
            )
            async with asyncio.timeout(WITHIN_S):
                while not (running and running[0].feed.stats.frames):
                    await asyncio.sleep(0.02)
                with pytest.raises(JournalError, match="in use by process"):
                    await start(configured(simulator, home), database.url, keys, stop=asyncio.Event())
                with pytest.raises(StoreError, match="already writing"):
                    await start(configured(simulator, home / "other"), database.url, keys, stop=asyncio.Event())
                stop.set()
                await first

    asyncio.run(twice())
