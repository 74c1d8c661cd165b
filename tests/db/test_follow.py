"""A universe that changes while it is recorded: through real sockets, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.database.connections import Database
from ingest.live.supervisor import Run, start
from ingest.model.frames import MODE_NAMES, Mode
from ingest.settings import settings
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay, latest_weekday
from ingest.simulator.server.app import Simulator
from ingest.universe.keeper import UniverseKeeper
from tests.fault.harness import WITHIN_S

NIFTY = "NSE_INDEX|Nifty 50"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.02)


def as_modes(keys: dict[str, str]) -> dict[str, Mode]:
    return {key: MODE_NAMES[mode] for key, mode in keys.items()}


def test_universe_that_changes_is_subscribed_and_unsubscribed_while_recording(database: Database, home: Path) -> None:
    market = GeneratedMarket(TradingDay(latest_weekday(datetime.now(UTC).date())), seed=1, instruments=200, rate=500)

    async def record() -> None:
        async with Simulator(market, speed=1) as simulator:
            config = settings(
                home=home,
                upstox_api_url=simulator.url,
                upstox_assets_url=simulator.url,
                upstox_access_token=simulator.token,
                underlyings="NIFTY",
                futures=1,
                option_strikes=1,
                options_mode="option_greeks",
                subscribe_interval_ms=10,
                universe_follow_s=0.1,
                backoff_first_s=0.05,
            )
            keeper = UniverseKeeper(config, database.url)
            await keeper.refresh(datetime.now(UTC))
            first = keeper.look(datetime.now(UTC))
            assert first.unpriced == ("NIFTY",) and len(first.keys) == 2
            stop, seen = asyncio.Event(), list[Run]()
            running = asyncio.create_task(
                start(config, database.url, first.keys, stop=stop, keeper=keeper, ready=seen.append)
            )
            # The index ticks, so its options are wanted: one strike on each side, calls and puts. At the market's
            # own speed the window stands still for the seconds that this takes.
            await until(lambda: len(simulator.subscribed) == 2 + 3 * 2)
            wanted = keeper.look(datetime.now(UTC)).keys
            await until(lambda: simulator.subscribed == as_modes(wanted))
            with database.connect(autocommit=True) as connection:

                def ticking() -> set[str]:
                    found = connection.execute(
                        "select instrument_key from latest_ticks join instruments using (instrument_id)"
                    )
                    return {key for (key,) in found}

                await until(lambda: ticking() == set(wanted))
            # What is subscribed now is subscribed again on the next connection.
            simulator.drop_all()
            await until(lambda: seen[0].feed is not None and seen[0].feed.stats.connections == 2)
            await until(lambda: simulator.subscribed == as_modes(wanted))
            stop.set()
            await running

    asyncio.run(record())


def test_change_asks_the_server_for_what_differs_only(database: Database, home: Path) -> None:
    market = GeneratedMarket(TradingDay(latest_weekday(datetime.now(UTC).date())), seed=1, instruments=60, rate=500)
    keys = sorted(market.keys)

    async def record() -> None:
        async with Simulator(market, speed=20) as simulator:
            config: Any = settings(
                home=home,
                upstox_api_url=simulator.url,
                upstox_assets_url=simulator.url,
                upstox_access_token=simulator.token,
                subscribe_batch_keys=7,
                subscribe_interval_ms=5,
            )
            before = dict.fromkeys(keys[:40], "full")
            stop, seen = asyncio.Event(), list[Run]()
            running = asyncio.create_task(start(config, database.url, before, stop=stop, ready=seen.append))
            await until(lambda: len(simulator.subscribed) == 40)
            feed = seen[0].feed
            assert feed is not None
            after = {**dict.fromkeys(keys[20:30], "full"), **dict.fromkeys(keys[30:60], "ltpc")}
            feed.change(after)
            await until(lambda: simulator.subscribed == as_modes(after))
            # A change of mind while the first change is still being sent ends where it should.
            feed.change(before)
            await asyncio.sleep(0.01)
            feed.change(after)
            feed.change({NIFTY: "full"})
            await until(lambda: simulator.subscribed == {NIFTY: Mode.FULL})
            assert feed.stats.connections == 1
            stop.set()
            await running

    asyncio.run(record())
