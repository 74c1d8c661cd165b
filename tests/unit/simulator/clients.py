"""Clients of a simulator in the same process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import date, time
from typing import Any

import aiohttp
import websockets

from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.app import AUTHORIZE_PATH, Simulator

SESSION = "session-20251215-open.frames.gz"
BEARER = {"Authorization": "Bearer simulated-token"}
SHORT = TradingDay(date(2026, 1, 5), cash_closes=time(9, 16), derivatives_close=time(9, 16))
NIFTY, FUTURE, INFY = "NSE_INDEX|Nifty 50", "NSE_FO|35000", "NSE_EQ|INE009A01021"
# So slow that nothing but the first frame comes during a test.
STILL = 1e-6


def market(**options: Any) -> GeneratedMarket:
    return GeneratedMarket(SHORT, **({"instruments": 50, "rate": 100.0} | options))


def run(scenario: Callable[[], Coroutine[Any, Any, None]], *, within_s: float = 120.0) -> None:
    async def limited() -> None:
        async with asyncio.timeout(within_s):
            await scenario()

    asyncio.run(limited())


async def authorize(simulator: Simulator) -> str:
    async with aiohttp.ClientSession(headers=BEARER) as http, http.get(simulator.url + AUTHORIZE_PATH) as answer:
        assert answer.status == 200
        document = await answer.json()
    assert document["data"]["authorizedRedirectUri"] == document["data"]["authorized_redirect_uri"]
    return document["data"]["authorized_redirect_uri"]


@asynccontextmanager
async def connected(simulator: Simulator) -> AsyncIterator[websockets.ClientConnection]:
    """A client that is connected and has been told the market's status."""
    async with websockets.connect(await authorize(simulator), max_size=2**24, compression=None) as socket:
        assert (await receive(socket)).type == pb.market_info
        yield socket


async def receive(socket: websockets.ClientConnection) -> pb.FeedResponse:
    return pb.FeedResponse.FromString(await socket.recv(decode=False))


async def request(
    socket: websockets.ClientConnection, method: str, keys: Iterable[str], mode: str | None = "full"
) -> None:
    data = {"instrumentKeys": list(keys)} | ({"mode": mode} if mode else {})
    await socket.send(json.dumps({"guid": "g", "method": method, "data": data}).encode())


async def until_close(socket: websockets.ClientConnection) -> list[pb.FeedResponse]:
    """Everything up to the market's close."""
    frames = []
    while True:
        frames.append(await receive(socket))
        if frames[-1].type == pb.market_info and set(frames[-1].marketInfo.segmentStatus.values()) == {pb.NORMAL_CLOSE}:
            return frames
