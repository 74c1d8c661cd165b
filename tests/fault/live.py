"""`start` on a simulator in this process, and how a test waits for it.

Owns what tests of the running ingestion share; it must not know what they break.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

from ingest.database.connections import Database
from ingest.feed.key_states import KeyState
from ingest.feed.lifecycle import State
from ingest.live.ingestion import Ingestion
from ingest.live.supervisor import Run, start
from ingest.settings import settings
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay, latest_weekday
from ingest.simulator.server.app import Simulator
from ingest.time_source import TimeSource
from tests.fault.harness import WITHIN_S
from tests.simulated import settings_for

DAY = latest_weekday(date(2026, 11, 19))


def market(instruments: int = 60, rate: float = 200.0) -> GeneratedMarket:
    return GeneratedMarket(TradingDay(DAY), seed=3, instruments=instruments, rate=rate)


class Forward(TimeSource):
    """The machine's clocks, but the one that measures how long something lasts can be moved forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Running:
    """`start` on a simulator, in this process."""

    def __init__(
        self,
        simulator: Simulator,
        database: Database | None,
        home: Path,
        time_source: TimeSource | None = None,
        **given: Any,
    ) -> None:
        self.simulator, self.database = simulator, database
        values: dict[str, Any] = settings_for(simulator, home) | {
            "backoff_first_s": 0.05,
            "backoff_max_s": 0.2,
            "subscribe_interval_ms": 10,
            "backfill_s": 0,
        }
        self.config = settings(**values | given)
        self._time_source = time_source
        self._stop = asyncio.Event()
        self._seen: list[Run] = []

    async def begin(self, keys: list[str]) -> None:
        self._task = asyncio.create_task(
            start(
                self.config,
                self.database.url if self.database is not None else None,
                keys,
                stop=self._stop,
                ready=self._seen.append,
                time_source=self._time_source,
            )
        )
        await until(lambda: bool(self._seen) or self._task.done())
        if self._task.done():
            await self._task

    @property
    def ingestion(self) -> Ingestion:
        ingestion = self._seen[0].ingestion
        assert ingestion is not None
        return ingestion

    @property
    def parts(self) -> Run:
        return self._seen[0]

    @property
    def ticks(self) -> int:
        return sum(stream.consumer.counts.ticks for stream in self.ingestion.streams)

    @property
    def confirmed(self) -> int:
        return sum(stream.feed.states.counts()[KeyState.CONFIRMED] for stream in self.ingestion.streams)

    async def live(self, connections: int = 1) -> None:
        """Wait until ticks are committed on so many connections made in all."""
        ticks = self.ticks

        def is_live() -> bool:
            feeds = [stream.feed for stream in self.ingestion.streams if stream.feed.keys]
            made = sum(feed.stats.connections for feed in feeds)
            return made >= connections and all(feed.life.state is State.LIVE for feed in feeds) and self.ticks > ticks

        await until(is_live)

    async def fall_silent(self, clock: Forward, seconds: float) -> None:
        """Let the only connection bring nothing, for so many seconds by the clock of the run: none have to pass."""
        simulator, feed = self.simulator, self.ingestion.streams[0].feed
        simulator.faults.mute = set(simulator.source.keys)
        await until(lambda: all(one.is_idle for one in simulator.player.connections))
        await until(lambda: feed.stats.frames == simulator.frames_sent)
        self.ingestion.watchdog.look(clock.monotonic())  # it has noted the last frame
        clock.ahead_s += seconds

    async def end(self) -> None:
        self._stop.set()
        await self._task


@asynccontextmanager
async def running(
    database: Database | None, home: Path, source: Any = None, *, speed: float = 1.0, **given: Any
) -> AsyncIterator[Running]:
    options = {name: given.pop(name) for name in ("connections_max", "redirect_status") if name in given}
    async with Simulator(source or market(), speed=speed, **options) as simulator:
        run = Running(simulator, database, home, **given)
        await run.begin(sorted(simulator.source.keys))
        yield run
        await run.end()


async def until(condition: Callable[[], object], within_s: float = WITHIN_S) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
