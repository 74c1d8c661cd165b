"""The simulator's server over real sockets, from the outside."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import date, time
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
import zstandard
from click.testing import CliRunner

from ingest.cli.trial.simulate import command as simulate_command
from ingest.errors import ConfigError, JournalError
from ingest.journal.folder import segments_of
from ingest.journal.recording import read_recording, write_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.frames import MODE_NAMES, Mode
from ingest.model.records import RecordKind
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.recorded import RecordedMarket
from ingest.simulator.server.app import AUTHORIZE_PATH, DIRECT_PATH, FEEDER_PATH, Simulator
from ingest.simulator.server.client import LIMITS_ALONE, LIMITS_COMBINED, ClientConnection, parse_request
from ingest.simulator.server.frame_bytes import project
from tests.data import data_file

SESSION = "session-20251215-open.frames.gz"
BEARER = {"Authorization": "Bearer simulated-token"}
SHORT = TradingDay(date(2026, 1, 5), cash_closes=time(9, 16), derivatives_close=time(9, 16))
NIFTY, FUTURE, INFY = "NSE_INDEX|Nifty 50", "NSE_FO|35000", "NSE_EQ|INE009A01021"
# So slow that nothing but the first frame comes during a test.
STILL = 1e-6


def market(**options: Any) -> GeneratedMarket:
    return GeneratedMarket(SHORT, **({"instruments": 50, "rate": 100.0} | options))


def run(scenario: Callable[[], Coroutine[Any, Any, None]], *, within_s: float = 60.0) -> None:
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
        async with Simulator(market(), speed=math.inf, settle_s=0.5) as simulator, connected(simulator) as socket:
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


def test_client_that_joins_late_gets_the_latest_state() -> None:
    async def scenario() -> None:
        async with Simulator(market(), speed=math.inf) as simulator, connected(simulator) as early:
            await request(early, "sub", [FUTURE])
            last = [frame for frame in await until_close(early) if frame.feeds][-1]
            async with connected(simulator) as late:
                await request(late, "sub", [FUTURE])
                snapshot = await receive(late)
                assert snapshot.type == pb.initial_feed
                assert snapshot.feeds[FUTURE] == last.feeds[FUTURE]
                assert snapshot.currentTs >= last.currentTs

    run(scenario)


def test_market_begins_again_for_new_clients_after_its_end() -> None:
    async def scenario() -> None:
        async with Simulator(market(), speed=math.inf) as simulator:
            plays = []
            for _ in range(2):
                async with connected(simulator) as socket:
                    await request(socket, "sub", [FUTURE, NIFTY])
                    frames = await until_close(socket)
                    await simulator.finished.wait()
                    plays.append([frame.SerializeToString(deterministic=True) for frame in frames])
            assert plays[0] == plays[1]

    run(scenario)


def test_full_speed_waits_for_a_client_that_comes_back() -> None:
    async def scenario() -> None:
        async with Simulator(market(rate=300), speed=math.inf) as simulator:
            async with connected(simulator) as socket:
                await request(socket, "sub", simulator.source.keys)
                await receive(socket)
                socket.transport.abort()
            assert not simulator.finished.is_set()
            async with connected(simulator) as socket:
                await request(socket, "sub", simulator.source.keys)
                await until_close(socket)
            await simulator.finished.wait()

    run(scenario)


def test_full_speed_waits_for_frames_that_are_few_and_large() -> None:
    async def scenario() -> None:
        source = market(instruments=1_500, rate=1_000.0)
        async with Simulator(source, speed=math.inf) as simulator, connected(simulator) as socket:
            await request(socket, "sub", source.keys)
            updates = sum(len(frame.feeds) for frame in await until_close(socket))
            assert updates == simulator.updates_sent == sum(len(frame.feeds) for frame in source.frames())

    run(scenario)


def test_speed_factor_sets_the_pace() -> None:
    async def scenario() -> None:
        async with Simulator(market(), speed=30.0, settle_s=0.0) as simulator, connected(simulator) as socket:
            await request(socket, "sub", [FUTURE])
            await receive(socket)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await until_close(socket)
            assert loop.time() - began > 1.0  # a minute at 30 times; without a pace it takes milliseconds

    run(scenario)


def test_recording_at_full_speed_delivers_every_update_once() -> None:
    path = data_file(SESSION)
    recorded = Counter()
    for frame in read_recording(path):
        message = pb.FeedResponse.FromString(frame.payload)
        recorded.update((message.currentTs, key) for key in message.feeds)
    assert recorded.total() == 209_928

    async def scenario() -> None:
        source = RecordedMarket(path)
        async with Simulator(source, speed=math.inf) as simulator, connected(simulator) as socket:
            await request(socket, "sub", source.keys)
            received = Counter()
            kinds = Counter()
            for frame in await until_close(socket):
                received.update((frame.currentTs, key) for key in frame.feeds)
                kinds[frame.type] += 1
            assert received == recorded
            assert kinds[pb.initial_feed] == 2
            assert simulator.updates_sent == 209_928

    run(scenario, within_s=60)


def test_recording_without_instruments_file_has_a_bare_row_for_each_key() -> None:
    source = RecordedMarket(data_file(SESSION))
    rows = {row["instrument_key"]: row for row in source.instruments()}
    assert rows.keys() == source.keys
    assert rows["NSE_FO|60166"]["trading_symbol"] == "60166"


def test_recording_cut_short_is_played_up_to_the_cut(tmp_path: Any) -> None:
    frames = []
    for frame in market().frames():
        message = pb.FeedResponse(type=pb.live_feed, currentTs=frame.current_ms)
        for key, feed in frame.feeds.items():
            message.feeds[key].CopyFrom(feed)
        frames.append((frame.current_ms, message.SerializeToString()))
    whole, cut = tmp_path / "whole.frames.gz", tmp_path / "cut.frames.gz"
    write_recording(whole, frames)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = RecordedMarket(cut)
    assert source.error is not None
    assert 0 < sum(1 for _ in source.frames()) < len(frames)
    empty = tmp_path / "empty.frames.gz"
    write_recording(empty, [])
    with pytest.raises(JournalError, match="no update to play"):
        RecordedMarket(empty)
    with pytest.raises(ConfigError, match="no instruments file"):
        RecordedMarket(whole, instruments_file=tmp_path / "absent")


def test_segment_of_a_journal_is_played_like_the_recording_of_its_frames(tmp_path: Path) -> None:
    frames = list(islice(read_recording(data_file(SESSION)), 2_000))
    journal = JournalWriter(tmp_path / "1", collector="default", stream="1", next_seq=1, limits=JournalLimits())
    journal.append(RecordKind.CONNECTED, b"{}", frames[0].received_ms * 1000)
    for frame in frames:
        journal.append(RecordKind.FRAME, frame.payload, frame.received_ms * 1000)
    journal.append(RecordKind.FRAME, b"\xff no frame", frames[-1].received_ms * 1000)
    journal.close()
    [segment] = segments_of(tmp_path / "1")
    packed = tmp_path / (segment.name + ".zst")
    packed.write_bytes(zstandard.compress(segment.read_bytes()))
    for path in (segment, packed):
        source = RecordedMarket(path)
        assert source.error is None
        assert [frame.payload for frame in source.frames()] == [frame.payload for frame in frames]


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


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--generate", "--spike", "NSE_FO|35000"], "write it as"),
        (["--generate", "--spike", "NSE_FO|35000@36:2.5x"], "write it as"),
        (["--generate", "--spike", "NSE_FO|1@36:2.5"], "is not in the market"),
        (["--frames", __file__, "--spike", "NSE_FO|35000@36:2.5"], "needs --generate"),
    ],
)
def test_simulate_spike_that_cannot_be_planted_is_refused(arguments: list[str], complaint: str) -> None:
    ran = CliRunner().invoke(simulate_command, [*arguments, "--port", "0"])
    assert ran.exit_code != 0 and complaint in f"{ran.output}{ran.exception}"
