"""What the simulator plays, and at which pace: made markets, recordings, segments of a journal."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from time import sleep as wait_s
from typing import Any

import pytest
from click.testing import CliRunner

from ingest.cli.trial import simulate
from ingest.cli.trial.simulate import command as simulate_command
from ingest.errors import ConfigError, JournalError
from ingest.journal.compression import pack
from ingest.journal.folder import segments_of
from ingest.journal.recording import read_recording, write_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import RecordKind
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.recorded import RecordedMarket
from ingest.simulator.server.app import Simulator
from ingest.simulator.source import MarketFrame
from tests.data import data_file
from tests.unit.simulator.clients import (
    FUTURE,
    NIFTY,
    SESSION,
    SHORT,
    connected,
    market,
    receive,
    request,
    run,
    until_close,
)


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
    class FewFrames(GeneratedMarket):
        def frames(self) -> Iterator[MarketFrame]:
            return islice(super().frames(), 100)

    async def scenario() -> None:
        source = FewFrames(SHORT, instruments=1_500, rate=1_000.0)
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


def test_market_that_is_late_lets_other_clients_in_after_each_slow_frame() -> None:
    class SlowMarket(GeneratedMarket):
        made = 0

        def frames(self) -> Iterator[MarketFrame]:
            for frame in islice(super().frames(), 30):
                wait_s(0.02)  # as a large frame takes on a busy machine
                self.made += 1
                yield frame

    async def scenario() -> None:
        source = SlowMarket(SHORT, instruments=50, rate=100.0)
        async with Simulator(source, speed=1e6, settle_s=0.0) as simulator, connected(simulator) as socket:
            await request(socket, "sub", [FUTURE])
            seen = set()
            while not simulator.finished.is_set():
                seen.add(source.made)
                await asyncio.sleep(0)
            assert len(seen) >= 29
            socket.transport.abort()  # with frames unread, a close would wait for its answer

    run(scenario)


@pytest.mark.parametrize("length", ["short", pytest.param("whole", marks=pytest.mark.soak)])
def test_recording_at_full_speed_delivers_every_update_once(length: str, short_session: Path) -> None:
    path = data_file(SESSION) if length == "whole" else short_session
    recorded = Counter()
    for frame in read_recording(path):
        message = pb.FeedResponse.FromString(frame.payload)
        recorded.update((message.currentTs, key) for key in message.feeds)
    updates = recorded.total()
    assert updates == (209_928 if length == "whole" else 21_100)

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
            assert simulator.updates_sent == updates

    run(scenario)


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
    with segment.open("rb") as raw, packed.open("wb") as file:
        pack(raw, file, segment.stat().st_size)
    for path in (segment, packed):
        source = RecordedMarket(path)
        assert source.error is None
        assert [frame.payload for frame in source.frames()] == [frame.payload for frame in frames]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--generate", "--spike", "NSE_FO|35000"], "write it as"),
        (["--generate", "--spike", "NSE_FO|35000@36:2.5x"], "write it as"),
        (["--generate", "--spike", "NSE_FO|1@36:2.5"], "is not in the market"),
        (["--generate", "--spike", "NSE_FO|35000@36:2.5,vega+1"], "write it as"),
        (["--generate", "--spike", "NSE_FO|35000@36:iv+3"], "into an option"),
        (["--frames", __file__, "--plant", "3"], "need --generate"),
        (["--generate", "--truth", "x.json"], "give --spike or --plant"),
        (["--frames", __file__, "--spike", "NSE_FO|35000@36:2.5"], "need --generate"),
    ],
)
def test_simulate_spike_that_cannot_be_planted_is_refused(arguments: list[str], complaint: str) -> None:
    ran = CliRunner().invoke(simulate_command, [*arguments, "--port", "0"])
    assert ran.exit_code != 0 and complaint in f"{ran.output}{ran.exception}"


def test_simulate_writes_the_truth_of_random_and_of_named_spikes(tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    spikes = simulate._parse_spikes(None, None, ("NSE_FO|35000@36:-2.5", "NSE_FO|35000@120:x8,oi+4"))  # type: ignore[arg-type]
    source = simulate._generated(date(2026, 1, 5), seed=1, instruments=20, rate=50, spikes=spikes, count=5, truth=file)
    rows = json.loads(file.read_text())
    assert isinstance(source, GeneratedMarket) and len(source.plant) == len(rows) == 7
    assert rows[0] == {
        "instrument_key": "NSE_FO|35000",
        "trading_symbol": "NIFTY FUT 27 JAN 26",
        "class": "future",
        "bucket": "2026-01-05T04:21:00Z",
        "minute": 36,
        "kind": "price+volume",
        "move_percent": -2.5,
        "volume_multiple": 20.0,
        "iv_points": 0.0,
        "oi_percent": 0.0,
    }
    assert (rows[1]["kind"], rows[1]["volume_multiple"], rows[1]["oi_percent"]) == ("volume+oi", 8.0, 4.0)
