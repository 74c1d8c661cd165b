"""The simulator's server over real sockets, from the outside."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter

import aiohttp
import pytest
import websockets

from ingest.errors import ConfigError
from ingest.model.frames import MODE_NAMES, Mode
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.server.app import AUTHORIZE_PATH, DIRECT_PATH, FEEDER_PATH, Simulator
from ingest.simulator.server.client import LIMITS_ALONE, LIMITS_COMBINED, ClientConnection, parse_request
from ingest.simulator.server.frame_bytes import project
from tests.unit.simulator.clients import (
    BEARER,
    FUTURE,
    INFY,
    NIFTY,
    STILL,
    authorize,
    connected,
    market,
    receive,
    request,
    run,
    until_close,
)


def test_authorize_wrong_token_is_401_with_vendor_envelope() -> None:
    async def scenario() -> None:
        async with Simulator(market()) as simulator, aiohttp.ClientSession() as http:
            for path in (AUTHORIZE_PATH, DIRECT_PATH):
                for headers in ({}, {"Authorization": "Bearer wrong"}):
                    async with http.get(simulator.url + path, headers=headers) as answer:
                        assert answer.status == 401
                        error = (await answer.json())["errors"][0]
                        assert error["errorCode"] == error["error_code"] == "UDAPI100050"

    run(scenario)


def test_path_unknown_is_404_with_vendor_envelope() -> None:
    async def scenario() -> None:
        async with Simulator(market()) as simulator, aiohttp.ClientSession(headers=BEARER) as http:
            for path in ("/", "/v3", "/v2/feed/market-data-feed", "/market-quote/instruments/exchange/MCX.json.gz"):
                async with http.get(simulator.url + path) as answer:
                    assert answer.status == 404
                    assert (await answer.json())["errors"][0]["errorCode"] == "UDAPI100060"
            async with http.post(simulator.url + AUTHORIZE_PATH) as answer:
                assert answer.status == 404

    run(scenario)


def test_code_used_twice_or_unknown_is_403() -> None:
    async def scenario() -> None:
        async with Simulator(market()) as simulator:
            uri = await authorize(simulator)
            async with websockets.connect(uri):
                pass
            for bad in (uri, f"ws://127.0.0.1:{simulator.port}{FEEDER_PATH}?code=unknown"):
                with pytest.raises(websockets.InvalidStatus) as refused:
                    await websockets.connect(bad)
                assert refused.value.response.status_code == 403

    run(scenario)


def test_connection_beyond_the_limit_is_403() -> None:
    async def scenario() -> None:
        async with Simulator(market(), connections_max=1) as simulator, connected(simulator):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(await authorize(simulator))
            assert refused.value.response.status_code == 403
            assert simulator.connections == 1

    run(scenario)


@pytest.mark.parametrize("status", [302, 307])
def test_direct_url_redirects_to_a_working_uri(status: int) -> None:
    async def scenario() -> None:
        async with Simulator(market(), redirect_status=status) as simulator:
            direct = simulator.url + DIRECT_PATH
            async with (
                aiohttp.ClientSession(headers=BEARER) as http,
                http.get(direct, allow_redirects=False) as answer,
            ):
                assert answer.status == status
            # The same as one step: the client follows by itself.
            uri = direct.replace("http://", "ws://")
            async with websockets.connect(uri, additional_headers=BEARER) as socket:
                assert (await receive(socket)).type == pb.market_info

    run(scenario)


@pytest.mark.parametrize("status", [401, 403, 429])
def test_refusal_switched_on_answers_rest_and_handshake_with_it(status: int) -> None:
    async def scenario() -> None:
        async with Simulator(market()) as simulator, aiohttp.ClientSession(headers=BEARER) as http:
            uri = await authorize(simulator)
            simulator.faults.refuse = status
            async with http.get(simulator.url + AUTHORIZE_PATH) as answer:
                assert answer.status == status
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(uri)
            assert refused.value.response.status_code == status
            simulator.faults.refuse = None
            async with connected(simulator):
                pass

    run(scenario)


def test_master_of_an_exchange_is_gzipped_rows() -> None:
    async def scenario() -> None:
        source = market()
        async with Simulator(source) as simulator, aiohttp.ClientSession() as http:
            for name, rows in (("complete", 50), ("NSE", 50), ("BSE", 0)):
                url = f"{simulator.url}/market-quote/instruments/exchange/{name}.json.gz"
                async with http.get(url) as answer:
                    master = json.loads(gzip.decompress(await answer.read()))
                assert len(master) == rows
                assert {row["instrument_key"] for row in master} <= source.keys

    run(scenario)


def test_subscription_gets_initial_feed_then_live_feed_of_its_keys_only() -> None:
    async def scenario() -> None:
        async with Simulator(market(), speed=math.inf) as simulator, connected(simulator) as socket:
            await request(socket, "sub", [NIFTY, FUTURE, "NSE_FO|unknown"])
            first, *rest = await until_close(socket)
            assert first.type == pb.initial_feed
            assert set(first.feeds) == {NIFTY, FUTURE}
            live = [frame for frame in rest if frame.type == pb.live_feed]
            assert {key for frame in live for key in frame.feeds} == {NIFTY, FUTURE}
            assert all(feed.requestMode == pb.full_d5 for frame in live for feed in frame.feeds.values())
            times = [frame.currentTs for frame in live]
            assert times == sorted(times)
            assert rest[0].type == pb.market_info  # the market opens

    run(scenario)


def test_subscription_without_mode_is_ltpc_and_text_and_nonsense_are_ignored() -> None:
    async def scenario() -> None:
        async with Simulator(market(), speed=STILL) as simulator, connected(simulator) as socket:
            text = {"guid": "g", "method": "sub", "data": {"mode": "full", "instrumentKeys": [FUTURE]}}
            await socket.send(json.dumps(text))
            for nonsense in (b"\xff", b"[]", b'{"method":"sub"}', b'{"method":"sub","data":{"mode":"?"}}'):
                await socket.send(nonsense)
            await request(socket, "sub", [INFY], None)
            answer = await receive(socket)
            assert set(answer.feeds) == {INFY}
            assert answer.feeds[INFY].WhichOneof("FeedUnion") == "ltpc"

    run(scenario)


def test_change_mode_answers_with_a_snapshot_in_the_new_mode() -> None:
    async def scenario() -> None:
        async with Simulator(market(depth_levels=30), speed=STILL) as simulator, connected(simulator) as socket:
            await request(socket, "sub", [FUTURE], "ltpc")
            assert (await receive(socket)).feeds[FUTURE].HasField("ltpc")
            await request(socket, "change_mode", [FUTURE, INFY], "option_greeks")
            greeks = await receive(socket)
            assert set(greeks.feeds) == {FUTURE}  # INFY was not subscribed
            assert greeks.feeds[FUTURE].firstLevelWithGreeks.firstDepth.askP > 0
            for mode, levels in (("full", 5), ("full_d30", 30)):
                await request(socket, "change_mode", [FUTURE], mode)
                feed = (await receive(socket)).feeds[FUTURE]
                assert feed.requestMode == MODE_NAMES[mode]
                assert len(feed.fullFeed.marketFF.marketLevel.bidAskQuote) == levels

    run(scenario)


def test_unsubscribed_key_is_sent_no_more() -> None:
    async def scenario() -> None:
        async with Simulator(market(), speed=math.inf, settle_s=2.0) as simulator, connected(simulator) as socket:
            await request(socket, "sub", [FUTURE, INFY])
            await request(socket, "unsub", [FUTURE], None)
            frames = await until_close(socket)
            counts = Counter(key for frame in frames for key in frame.feeds)
            assert counts[FUTURE] == 1  # its snapshot
            assert counts[INFY] > 10

    run(scenario)


def test_muted_key_is_sent_no_more_and_others_are() -> None:
    async def scenario() -> None:
        async with Simulator(market(), speed=math.inf) as simulator, connected(simulator) as socket:
            simulator.faults.mute.add(FUTURE)
            await request(socket, "sub", [FUTURE, INFY])
            counts = Counter(key for frame in await until_close(socket) for key in frame.feeds)
            assert FUTURE not in counts
            assert counts[INFY] > 10

    run(scenario)


def test_faults_drop_and_close_reach_the_client() -> None:
    async def scenario() -> None:
        async with Simulator(market(), speed=STILL) as simulator:
            async with connected(simulator) as socket:
                await simulator.close_all(1011)
                await socket.wait_closed()
                assert socket.close_code == 1011
            async with connected(simulator) as socket:
                simulator.drop_all()
                await socket.wait_closed()
                assert socket.close_code == 1006
            async with connected(simulator):
                pass

    run(scenario)


def test_port_in_use_is_one_line_with_the_remedy() -> None:
    async def scenario() -> None:
        async with Simulator(market()) as simulator:
            with pytest.raises(ConfigError, match=f"port {simulator.port} on '127.0.0.1' is in use: give another"):
                async with Simulator(market(), port=simulator.port):
                    pass

    run(scenario)


class NoSocket:
    """A client that is only counted."""

    def abort(self) -> None:
        raise AssertionError


@pytest.mark.parametrize("mode", list(Mode))
def test_limits_keys_beyond_are_ignored_in_silence(mode: Mode) -> None:
    async def scenario() -> None:
        keys = [f"NSE_FO|{number}" for number in range(6_000)]
        alone = ClientConnection(NoSocket())
        assert alone.subscribe(keys, mode) == keys[: LIMITS_ALONE[mode]]
        assert alone.subscribe(keys, mode) == keys[: LIMITS_ALONE[mode]]
        beside = ClientConnection(NoSocket())
        beside.subscribe(["NSE_EQ|other"], Mode.LTPC if mode is not Mode.LTPC else Mode.FULL)
        assert beside.subscribe(keys, mode) == keys[: LIMITS_COMBINED[mode]]
        beside.unsubscribe(keys[:10])
        assert beside.subscribe(keys[-20:], mode) == keys[-20:-10]

    run(scenario)


def test_request_of_the_vendors_example_is_understood() -> None:
    example = '{"guid":"13syxu852ztodyqncwt0","method":"sub",'
    example += '"data":{"mode":"full","instrumentKeys":["NSE_INDEX|Nifty Bank"]}}'
    asked = parse_request(example.encode())
    assert asked is not None
    assert (asked.method, asked.mode, asked.keys) == ("sub", Mode.FULL, ["NSE_INDEX|Nifty Bank"])


def test_projection_of_an_index_has_its_price_in_every_mode() -> None:
    feed = pb.Feed(requestMode=pb.full_d5)
    feed.fullFeed.indexFF.ltpc.ltp = 26_000.5
    assert project(feed, Mode.LTPC).ltpc.ltp == 26_000.5
    assert project(feed, Mode.OPTION_GREEKS).firstLevelWithGreeks.ltpc.ltp == 26_000.5
    assert project(feed, Mode.FULL) is feed
    assert project(feed, Mode.FULL_D30).fullFeed.indexFF.ltpc.ltp == 26_000.5
