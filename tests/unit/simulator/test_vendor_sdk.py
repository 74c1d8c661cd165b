"""The vendor's own SDK as a client of the simulator: both sides agree on the protocol."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from datetime import date, time
from typing import Any

import pytest
import upstox_client
from upstox_client.feeder import market_data_feeder_v3

from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.app import FEEDER_PATH, Simulator

KEYS = ["NSE_INDEX|Nifty 50", "NSE_FO|35000", "NSE_EQ|INE009A01021"]
SESSION = TradingDay(date(2026, 1, 5), cash_closes=time(9, 30), derivatives_close=time(9, 30))
WAIT_S = 60.0
# Closes all connections from the server's side: the SDK's own `disconnect` leaves its thread waiting for 10 s.
HangUp = Callable[[], None]


def with_simulator(use: Callable[[Simulator, HangUp], None]) -> None:
    """Serve a market and use it from another thread, as the SDK blocks."""

    async def serve() -> None:
        source = GeneratedMarket(SESSION, instruments=30, rate=100)
        async with asyncio.timeout(4 * WAIT_S), Simulator(source, speed=10.0, settle_s=0.1) as simulator:
            loop = asyncio.get_running_loop()

            def hang_up() -> None:
                asyncio.run_coroutine_threadsafe(simulator.close_all(1000), loop).result(WAIT_S)

            await asyncio.to_thread(use, simulator, hang_up)

    asyncio.run(serve())


def client_of(simulator: Simulator, token: str = "simulated-token") -> upstox_client.ApiClient:
    configuration = upstox_client.Configuration()
    configuration.host = simulator.url
    configuration.access_token = token
    return upstox_client.ApiClient(configuration)


def stream(
    simulator: Simulator,
    hang_up: HangUp,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    enough: Callable[[list[dict[str, Any]]], bool],
) -> list[dict[str, Any]]:
    """Let the SDK's streamer take messages until there are enough."""
    real = market_data_feeder_v3.websocket.WebSocketApp

    class Redirected(real):  # type: ignore[misc, valid-type]
        """The SDK has the vendor's host built in."""

        def __init__(self, url: str, **options: Any) -> None:
            super().__init__(url.replace("wss://api.upstox.com", simulator.url.replace("http", "ws")), **options)

        def run_forever(self, **options: Any) -> Any:
            try:
                return super().run_forever(**options)
            finally:
                ended.set()

    messages: queue.Queue[dict[str, Any]] = queue.Queue()
    taken: list[dict[str, Any]] = []
    ended = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(market_data_feeder_v3.websocket, "WebSocketApp", Redirected)
        streamer = upstox_client.MarketDataStreamerV3(client_of(simulator), KEYS, mode)
        streamer.auto_reconnect(False)
        streamer.on("message", messages.put)
        streamer.connect()
        try:
            while not enough(taken):
                taken.append(messages.get(timeout=WAIT_S))
        finally:
            hang_up()
            assert ended.wait(WAIT_S)
    return taken


def live_keys(messages: list[dict[str, Any]]) -> set[str]:
    return {key for message in messages if message.get("type") == "live_feed" for key in message["feeds"]}


@pytest.mark.parametrize("mode", ["full", "ltpc"])
def test_vendor_sdk_streams_updates_of_all_its_keys(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def use(simulator: Simulator, hang_up: HangUp) -> None:
        first, snapshot, *rest = stream(
            simulator, hang_up, monkeypatch, mode, lambda taken: live_keys(taken) >= set(KEYS)
        )
        assert first["type"] == "market_info"
        assert "type" not in snapshot  # initial_feed is 0 and not on the wire
        assert set(snapshot["feeds"]) == set(KEYS)
        feeds = {key: feed for message in rest for key, feed in message.get("feeds", {}).items()}
        if mode == "ltpc":
            assert all(set(feed) == {"ltpc"} and feed["ltpc"]["ltp"] > 0 for feed in feeds.values())
            return
        assert all(feed["requestMode"] == "full_d5" for feed in feeds.values())
        future = feeds["NSE_FO|35000"]["fullFeed"]["marketFF"]
        assert len(future["marketLevel"]["bidAskQuote"]) == 5
        assert int(future["vtt"]) > 0
        assert "indexFF" in feeds["NSE_INDEX|Nifty 50"]["fullFeed"]

    with_simulator(use)


def test_vendor_sdk_authorizes_over_rest() -> None:
    def use(simulator: Simulator, hang_up: HangUp) -> None:
        answer = upstox_client.WebsocketApi(client_of(simulator)).get_market_data_feed_authorize_v3()
        assert answer.status == "success"
        assert answer.data.authorized_redirect_uri.startswith(f"ws://127.0.0.1:{simulator.port}{FEEDER_PATH}?")
        with pytest.raises(upstox_client.rest.ApiException) as refused:
            upstox_client.WebsocketApi(client_of(simulator, "wrong")).get_market_data_feed_authorize_v3()
        assert refused.value.status == 401

    with_simulator(use)


def test_vendor_sdk_reads_minute_bars_and_quotes_of_the_simulator() -> None:
    """What the SDK has as typed fields is what the market's truth says."""

    def use(simulator: Simulator, _: HangUp) -> None:
        for frame in simulator.source.frames():
            if frame.current_ms > SESSION.open_ms + 190_000:
                break
        truth = [list(bar[2:]) for bar in simulator.source.minute_bars(KEYS[1])]
        assert len(truth) == 3
        client = client_of(simulator)
        history = upstox_client.HistoryV3Api(client)
        intraday = history.get_intra_day_candle_data(KEYS[1], "minutes", "1").data.candles
        assert [[*row[1:5], row[5]] for row in reversed(intraday)] == truth
        past = history.get_historical_candle_data1(KEYS[1], "minutes", "1", "2026-01-05", "2026-01-05").data.candles
        assert past == intraday
        assert (
            history.get_historical_candle_data1(KEYS[1], "minutes", "1", "2026-01-02", "2026-01-01").data.candles == []
        )
        simulator.player.current_ms = SESSION.open_ms + 190_000
        quotes = upstox_client.MarketQuoteV3Api(client).get_market_quote_ohlc("I1", instrument_key=",".join(KEYS)).data
        bar = quotes["NSE_FO:35000"].prev_ohlc
        assert [bar.open, bar.high, bar.low, bar.close, bar.volume] == truth[-1]
        assert bar.ts == SESSION.open_ms + 120_000

    with_simulator(use)
