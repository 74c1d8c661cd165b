"""Prices of underlyings that have never ticked, by REST: the endpoint, and what the universe makes of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.errors import AuthorizationError, FeedError
from ingest.settings import Settings, settings
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.app import Simulator
from ingest.universe.keeper import RETRY_AFTER, UniverseKeeper
from ingest.upstox.answers import parse_prices
from ingest.upstox.rest import UpstoxApi
from tests.fault.season import FIRST, SPOT, Season, at
from tests.simulated import settings_for

NOW = at(FIRST, 8, 50)


def configured(simulator: Simulator, home: Path, **given: Any) -> Settings:
    values: dict[str, Any] = settings_for(simulator, home) | {
        "underlyings": "NIFTY",
        "option_strikes": 1,
    }
    return settings(**values | given)


def test_last_prices_are_those_of_the_feed_and_strangers_are_left_out(home: Path) -> None:
    async def run() -> None:
        market = GeneratedMarket(TradingDay(FIRST), instruments=20, rate=20)
        async with Simulator(market) as simulator, UpstoxApi(configured(simulator, home)) as api:
            keys = sorted(market.keys)
            found = await api.last_prices([*keys, "NSE_EQ|NOBODY"])
            shown = market.opening()[0].feeds
            assert set(found) == set(keys)
            assert found["NSE_INDEX|Nifty 50"] == shown["NSE_INDEX|Nifty 50"].fullFeed.indexFF.ltpc.ltp
        async with Simulator(market) as simulator:
            async with UpstoxApi(configured(simulator, home, upstox_access_token="wrong")) as api:
                with pytest.raises(AuthorizationError):
                    await api.last_prices(keys)

    asyncio.run(run())


@pytest.mark.parametrize("answer", [{}, {"data": []}, {"data": {"a": {}}}, {"data": {"a": {"instrument_token": 1}}}])
def test_prices_of_another_shape_are_an_error(answer: Any) -> None:
    with pytest.raises(FeedError, match="not understood"):
        parse_prices(answer)


def test_price_that_is_no_data_is_left_out() -> None:
    quotes = {name: {"instrument_token": name, "last_price": price} for name, price in (("a", 0), ("b", 5.5))}
    assert parse_prices({"data": quotes}) == {"b": 5.5}


def test_options_are_wanted_before_the_first_tick_and_without_an_answer_with_it(
    database: Database, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        season = Season(lambda: NOW, lambda _: 26_010.0)
        async with Simulator(season) as simulator:
            keeper = UniverseKeeper(configured(simulator, home, upstox_access_token="wrong"), database.url)
            found = await keeper.wanted(NOW)
            assert found.unpriced == ("NIFTY",) and "prices not fetched" in caplog.text
            requests = simulator.rest.requests
            async with UpstoxApi(configured(simulator, home)) as api:  # a session that has a newer token
                assert (await keeper.wanted(NOW + timedelta(minutes=1), api)).unpriced == ("NIFTY",)
                assert simulator.rest.requests == requests  # not again so soon
                found = await keeper.wanted(NOW + RETRY_AFTER, api)
            assert found.unpriced == ()
            options = {key for strike in (25_950, 26_000, 26_050) for key in season.options[FIRST, strike]}
            assert options | {SPOT} < set(found.keys) and len(found.keys) == 1 + 2 + 6
            without = UniverseKeeper(configured(simulator, home, upstox_access_token=None), database.url)
            assert (await without.wanted(NOW)).unpriced == ("NIFTY",)

    asyncio.run(run())
