"""The status of a running ingester, over HTTP and as a command; subscriptions and handlers at run time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from ingest.database.connections import Database
from ingest.errors import ConfigError
from ingest.feed.key_states import KeyState
from ingest.live.access import stored_token
from ingest.live.http.port import _listening
from ingest.live.latest_ticks import latest_tick, latest_ticks
from ingest.live.observe.health import health
from ingest.live.status import websocket_status
from ingest.live.tick_handlers import Handler, Tick, load_handler
from ingest.model.frames import MODE_NAMES
from ingest.settings import settings
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S
from tests.fault.live import running, until
from tests.processes import run_command
from tests.simulated import free_port

API = "/api/v1/websocket"


async def asked(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        async with session.request("GET" if body is None else "POST", path, json=body) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 400 else None


def bearer(home: Path) -> dict[str, str]:
    token = stored_token(home)
    assert token is not None
    return {"Authorization": f"Bearer {token}"}


async def served(port: int) -> None:
    async def answers() -> bool:
        try:
            return (await asked(port, "/health"))[0] in {200, 503}
        except OSError:
            return False

    async with asyncio.timeout(WITHIN_S):
        while not await answers():
            await asyncio.sleep(0.05)


@on_one_engine
def test_status_answers_with_the_fields_that_are_promised(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr("ingest.live.http.feed_routes.SLICE_KEYS", 7)

    async def run() -> tuple[Any, ...]:
        async with running(database, home, api_port=port) as run:
            await run.live()
            await until(lambda: run.confirmed == 60 and len(latest_ticks(run.ingestion)["latest_ticks"]) > 40)
            await served(port)
            answers = [
                await asked(port, path)
                for path in ("/health", f"{API}/status", f"{API}/subscriptions", f"{API}/latest-ticks")
            ]
            environment = os.environ | {"TICKLINE_API_PORT": str(port), "PYTHONPATH": str(REPOSITORY)}
            printed = await asyncio.to_thread(
                run_command, ["status", "--format", "json"], cwd=home, environment=environment
            )
            return *answers, printed.returncode, json.loads(printed.stdout), run

    began = time.monotonic()
    (said, status, subscriptions, latest, code, printed, ran) = asyncio.run(run())
    well = {"status": "healthy", "environment": "simulator", "problems": [], "warnings": [], "conditions": []}
    assert said == (200, well | {"paper_trading": False, "websocket_connected": True})
    found = status[1]
    assert found["is_running"] and found["websocket_connected"]
    assert found["subscriptions"] == {
        "total_symbols": 60,
        "subscribed_count": 60,
        "failed_count": 0,
        "subscription_rate": "100.00%",
    }
    keys = sorted(ran.simulator.source.keys)
    assert sorted(found["subscribed_symbols"]) == sorted(found["subscribed_keys"]) == keys  # no list: no symbols
    assert found["silent_keys"] == [] and found["gaps_today"] == 0
    assert 0 <= found["last_frame_age_s"] <= time.monotonic() - began  # no frame is older than the run
    assert found["segments"]["NSE_FO"] == "open"
    assert [one["state"] for one in found["connections"]] == ["live"]
    pool = found["database_pool"]
    assert pool["size_max"] == 4 and 1 <= pool["size"] <= 4 and pool["waiting"] == 0 and pool["idle"] <= pool["size"]
    one = {"symbol": None, "mode": "full", "connection": "1", "state": "confirmed"}
    assert subscriptions[1]["subscriptions"][keys[0]] == one
    assert (
        subscriptions[1]["status"] == found["subscriptions"] and sorted(subscriptions[1]["subscribed_symbols"]) == keys
    )
    ticks = latest[1]
    # What has not traded has no last price.
    assert 40 < ticks["symbols_tracked"] == len(ticks["latest_ticks"]) <= 60 and ticks["price_updates"] > 0
    fields = {"price", "volume", "bid", "ask", "timestamp", "instrument_key", "age_s", "state"}
    assert all(set(tick) == fields for tick in ticks["latest_ticks"].values())
    with database.connect() as connection:
        key = next(iter(ticks["latest_ticks"]))
        prices = connection.execute(
            "select ltp from ticks join instruments using (instrument_id) where instrument_key = %s", [key]
        )
        assert ticks["latest_ticks"][key]["price"] in {price for (price,) in prices}
    assert (code, printed.keys()) == (0, found.keys())


@on_one_engine
def test_health_is_bad_while_data_should_flow_and_do_not(database: Database, home: Path) -> None:
    port = free_port()

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await run.live()
            await served(port)
            run.simulator.faults.refuse = 403
            run.simulator.drop_all()
            feed = run.ingestion.streams[0].feed
            await until(lambda: feed.life.failures > 2)
            code, answer = await asked(port, "/health")
            assert (code, answer["status"]) == (503, "unhealthy")
            assert "403" in answer["problems"][0]
            _, status = await asked(port, f"{API}/status")
            error = status["connections"][0]["last_error"]
            assert error["state"] == "now" and "403" in error["text"] and error["count"] > 2
            run.simulator.faults.refuse = None
            await run.live(connections=2)
            await until(lambda: run.confirmed == 60)
            assert (await asked(port, "/health"))[0] == 200
            _, status = await asked(port, f"{API}/status")
            assert status["connections"][0]["last_error"]["state"] == "over" and status["errors"] == {}

    asyncio.run(run())


@on_one_engine
def test_health_and_counts_are_not_fooled_by_what_is_unsubscribed_or_lost(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home) as run:
            keys = sorted(run.simulator.source.keys)
            await until(lambda: run.confirmed == 60)
            run.ingestion.unsubscribe(keys[:20])
            found = health(run.ingestion)
            assert found["status"] == "healthy" and "20 keys of the universe" in found["warnings"][0]
            run.ingestion.unsubscribe(keys)
            found = health(run.ingestion)
            assert found["status"] == "unhealthy" and "60 keys of the universe" in found["problems"][0]
            run.ingestion.subscribe(keys, "full")
            await until(lambda: run.confirmed == 60)
            assert health(run.ingestion)["problems"] == []
            run.simulator.faults.refuse = 403
            feed = run.ingestion.streams[0].feed
            run.simulator.drop_all()
            await until(lambda: not feed.connected)
            assert "no connection" in health(run.ingestion)["problems"][0]
            assert websocket_status(run.ingestion)["subscriptions"]["subscribed_count"] == 0
            run.simulator.faults.refuse = None
            await until(lambda: run.confirmed == 60)

    asyncio.run(run())


@on_one_engine
def test_failed_keys_are_asked_for_again_on_demand(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home, confirm_s=0.5) as run:
            key, feed = "NSE_FO|999999999", run.ingestion.streams[0].feed
            await run.live()
            run.ingestion.subscribe([key], "full")
            await until(lambda: feed.states.in_state(KeyState.FAILED) == [key])
            assert run.ingestion.retry() == [key]
            await until(lambda: feed.states._keys[key].failures == 2)
            assert websocket_status(run.ingestion)["subscriptions"]["failed_count"] == 1

    asyncio.run(run())


@on_one_engine
def test_subscriptions_change_at_run_time(database: Database, home: Path) -> None:
    port = free_port()

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            keys = sorted(run.simulator.source.keys)
            await run.live()
            await served(port)
            await until(lambda: len(run.simulator.subscribed) == 60)
            own = bearer(home)
            assert (await asked(port, f"{API}/unsubscribe", {"keys": keys[:5]}, **own))[1] == {"total_symbols": 55}
            await until(lambda: sorted(run.simulator.subscribed) == keys[5:])
            await asked(port, f"{API}/subscribe", {"keys": keys[:1], "mode": "ltpc"}, **own)
            await until(lambda: run.simulator.subscribed.get(keys[0]) == MODE_NAMES["ltpc"])
            await asked(port, f"{API}/change-mode", {"keys": keys[5:7], "mode": "option_greeks"}, **own)
            await until(lambda: run.simulator.subscribed[keys[6]] == MODE_NAMES["option_greeks"])
            code, answer = await asked(port, f"{API}/change-mode", {"keys": keys[1:2], "mode": "full"}, **own)
            assert code == 409 and "subscribe first" in answer["error"]
            many = [f"NSE_FO|{number}" for number in range(9_000)]
            code, answer = await asked(port, f"{API}/subscribe", {"keys": many}, **own)
            assert code == 409 and "do not fit" in answer["error"]
            assert (await asked(port, f"{API}/subscribe", {"keys": keys[0]}, **own))[0] == 422
            assert (await asked(port, f"{API}/status", Host="evil.example"))[0] == 400

    asyncio.run(run())


@on_one_engine
def test_latest_tick_is_had_by_key_without_a_walk_over_the_others(database: Database, home: Path) -> None:
    port = free_port()

    class LookupsOnly(dict[str, str]):
        def __iter__(self) -> Any:
            raise AssertionError("the last tick of one key needs no walk over all")

        keys = values = items = __iter__  # type: ignore[assignment]

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await run.live()
            await served(port)
            await until(lambda: len(latest_ticks(run.ingestion)["latest_ticks"]) > 40)
            (one, two), ingestion = sorted(latest_ticks(run.ingestion)["latest_ticks"])[:2], run.ingestion
            stream = ingestion.streams[0]
            feed, states = stream.feed, stream.consumer.state.normaliser.states
            whole = feed.keys, ingestion.keys, states._places
            feed.keys, ingestion.keys, states._places = map(LookupsOnly, whole)
            tick = latest_tick(ingestion, one)
            assert tick is not None and tick["price"] > 0
            assert latest_tick(ingestion, "NSE_FO|nothing") is None
            feed.keys, ingestion.keys, states._places = whole
            code, answer = await asked(port, f"{API}/latest-ticks?key={one}&key={two}&key=NSE_FO|nothing")
            assert (code, set(answer["latest_ticks"])) == (200, {one, two})

    asyncio.run(run())


@on_one_engine
def test_port_that_is_taken_costs_the_status_only_until_it_is_free(
    database: Database, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.live.http.port.PORT_RETRY_S", 0.1)

    async def run() -> None:
        with socket.create_server(("127.0.0.1", free_port())) as taken:
            async with running(database, home, api_port=taken.getsockname()[1]) as run:
                await run.live()
                await until(lambda: "TICKLINE_API_PORT" in caplog.text)
                await run.live()
                taken.close()
                await served(run.config.api_port)

    asyncio.run(run())


def test_connection_sends_a_body_without_waiting_until_the_head_is_confirmed() -> None:
    listening = _listening("127.0.0.1", 0, said=False)
    assert listening is not None
    with listening, socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_one_engine
def test_status_that_fails_begins_again(
    database: Database, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, failures, loop = free_port(), [RuntimeError("ours")], uvicorn.Server.main_loop

    async def failing(server: uvicorn.Server) -> None:
        if failures:
            raise failures.pop()
        await loop(server)

    monkeypatch.setattr(uvicorn.Server, "main_loop", failing)
    monkeypatch.setattr("ingest.live.fence.FIRST_S", 0.05)

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await served(port)
            await run.live()
            said = (await asked(port, f"{API}/status"))[1]["errors"]["status"]
            assert (said["state"], said["text"], said["count"]) == ("over", "RuntimeError: ours", 1)
            assert "status failed: RuntimeError: ours" in (await asked(port, "/health"))[1]["warnings"]
            assert "Traceback" in caplog.text
            assert run.ingestion.streams[0].feed.stats.connections == 1

    asyncio.run(run())


@on_one_engine
def test_handlers_that_fail_or_block_cost_their_own_ticks_only(database: Database, home: Path) -> None:
    seen: list[Tick] = []

    async def good(tick: Tick) -> None:
        seen.append(tick)

    async def failing(tick: Tick) -> None:
        raise ValueError(tick.instrument_key)

    async def blocking(tick: Tick) -> None:
        time.sleep(0.2)  # noqa: ASYNC251  what a user's code should not do

    async def run() -> tuple[Any, ...]:
        async with running(database, home) as run:
            handlers = [
                Handler("good", good),
                Handler("failing", failing),
                Handler("blocking", blocking, queue_ticks_max=50),
            ]
            for handler in handlers:
                run.ingestion.add_handler(handler)
            await until(lambda: len(seen) > 1_000 and handlers[2].dropped > 1_000)
            return *handlers, run

    good_one, failing_one, blocking_one, ran = asyncio.run(run())
    assert good_one.dropped == 0
    assert {tick.symbol for tick in seen} == {None}  # no list is loaded
    assert failing_one.failed > 0 and failing_one.handled == 0 and "ValueError" in failing_one.error.text
    assert blocking_one.waiting <= 50
    with database.connect() as connection:
        assert connection.execute("select count(*) from ticks").fetchone() == (ran.ticks,)
        for tick in seen[:200]:
            row = connection.execute(
                "select ts, ltp, vtt, bid, ask_qty, traded from ticks join instruments using (instrument_id)"
                " where instrument_key = %s and seq = %s",
                [tick.instrument_key, tick.seq],
            ).fetchone()
            assert row == (tick.ts, tick.ltp, tick.vtt, tick.bidP, tick.askQ, tick.traded)


def test_handler_of_the_settings_that_is_not_there_is_said_with_its_form() -> None:
    with pytest.raises(ConfigError, match="module:function"):
        load_handler("nowhere:nothing")
    assert settings(handlers="a:b, c:d").handlers == ("a:b", "c:d")


def test_handler_is_found_in_the_current_folder_and_must_be_an_async_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    (tmp_path / "mine_here.py").write_text("async def on_tick(tick): ...\ndef plain(tick): ...\n")
    (tmp_path / "broken_here.py").write_text("async def on_tick(tick) ...\n")
    load_handler("mine_here:on_tick").close()
    with pytest.raises(
        ConfigError, match=r"'mine_here:plain' is not an async function: write `async def plain\(tick\)`"
    ):
        load_handler("mine_here:plain")
    with pytest.raises(ConfigError, match=r"'broken_here:on_tick' cannot be loaded: SyntaxError: "):
        load_handler("broken_here:on_tick")


def test_handler_error_is_logged_once_counted_and_over_when_a_tick_is_handled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import numpy as np

    async def failing(tick: Tick) -> None:
        if tick.instrument_key == "NSE_EQ|X":
            raise ValueError("wrong")

    handler = Handler("failing", failing)
    rows = np.zeros((3, 28))
    with caplog.at_level(logging.ERROR):
        handler.offer(rows, {0: "NSE_EQ|X"})
        handler.offer(rows[:1], {0: "NSE_EQ|Y"})
        handler.close()
        handler._thread.join(WITHIN_S)
    error = handler.account()["last_error"]
    assert isinstance(error, dict) and (error["state"], error["text"], error["count"]) == (
        "over",
        "ValueError('wrong')",
        3,
    )
    assert (handler.failed, handler.waiting, caplog.text.count("handler failed")) == (3, 0, 1)
