"""The event stream of a running ingester, and its Python client: every tick once, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import analytics
from analytics.event_stream import Bar, Event, EventStream, Missed, Signal, Tick
from ingest.database.connections import Database
from ingest.errors import ConfigError, UnknownNameError
from ingest.live.broadcast import client as client_module
from ingest.live.broadcast import hub as hub_module
from ingest.live.broadcast.hub import Hub
from ingest.live.http import protocol, stream_routes
from tests.db.test_status import served
from tests.engines import on_one_engine
from tests.fault.live import Running, market, running, until
from tests.gate import Gate
from tests.simulated import free_port

PATH = "/api/v1/stream"


def hub_of(run: Running) -> Hub:
    assert isinstance(run.ingestion.broadcast, Hub)
    return run.ingestion.broadcast


class Heard:
    """All that a stream has given so far, taken by a task of its own."""

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self.events: list[Event] = []
        self._task = asyncio.create_task(self._take())

    async def _take(self) -> None:
        async for event in self.stream:
            self.events.append(event)

    @property
    def ticks(self) -> list[Tick]:
        return [event for event in self.events if isinstance(event, Tick) and not event.is_snapshot]

    async def end(self) -> None:
        if self._task.done():
            self._task.result()
        self._task.cancel()
        await asyncio.wait({self._task})


@asynccontextmanager
async def heard(*names: str, **given: Any) -> AsyncIterator[Heard]:
    async with analytics.stream(names, **given) as stream:
        hearing = Heard(stream)
        try:
            yield hearing
        finally:
            await hearing.end()


def stored(database: Database, keys: list[str], first: int, last: int) -> list[tuple[Any, ...]]:
    """Ticks as the table has them, in the columns of `Tick`."""
    columns = ", ".join(f"ticks.{name}" for name in Tick._fields[2:-1])
    with database.connect() as connection:
        rows = connection.execute(
            f"select instrument_key, trading_symbol, {columns} from ticks join instruments using (instrument_id)"
            " where instrument_key = any(%s) and seq between %s and %s order by seq, instrument_key",
            [keys, first, last],
        ).fetchall()
    return [tuple(value.astimezone(UTC) if hasattr(value, "tzinfo") else value for value in row) for row in rows]


async def cut_and_resumed(database: Database, home: Path, away_s: float, rate: float) -> None:
    """Cut a client twice: the second time, what it has missed has left the memory."""
    port = free_port()
    async with running(database, home, market(rate=rate), api_port=port) as run, Gate(port) as gate:
        await run.live()
        keys = sorted(run.simulator.source.keys)[:20]
        async with heard(*keys, url=f"http://127.0.0.1:{gate.port}") as hearing:
            await until(lambda: len(hearing.ticks) > 50)
            for cut in range(2):
                gate.close()
                await until(lambda: not hub_of(run).clients)
                seq = run.ingestion.streams[0].consumer.state.taken_seq
                await until(lambda seq=seq: run.ingestion.streams[0].consumer.state.taken_seq > seq + 20)
                await asyncio.sleep(away_s)
                if cut:
                    hub_of(run).ring.clear()
                gate.open()
                ticks = len(hearing.ticks)
                await until(lambda ticks=ticks: len(hearing.ticks) > ticks + 100)
            await until(lambda: hub_of(run).ring.end == hub_of(run).ring.first or len(hearing.ticks) > 300)
            assert gate.passed >= 3 and hearing.stream.reconnects >= 2
            assert not [event for event in hearing.events if isinstance(event, Missed)]
    ticks = hearing.ticks
    seqs = [tick.seq for tick in ticks if tick.seq is not None]
    assert max(Counter((tick.instrument_key, tick.seq, tick.ts, tick.ltp) for tick in ticks).values()) == 1
    got = sorted(ticks, key=lambda tick: (tick.seq, tick.instrument_key))
    assert [tick[:-1] for tick in got] == stored(database, keys, min(seqs), max(seqs))
    states = [event for event in hearing.events if isinstance(event, Tick) and event.is_snapshot]
    assert {state.instrument_key for state in states} <= set(keys) and len(states) > 10


def test_client_that_was_cut_gets_every_tick_once_from_memory_and_from_the_database(
    database: Database, home: Path
) -> None:
    asyncio.run(cut_and_resumed(database, home, 0.0, 600.0))


@pytest.mark.soak
def test_client_that_was_cut_for_half_a_minute_gets_every_tick_once(database: Database, home: Path) -> None:
    asyncio.run(cut_and_resumed(database, home, 30.0, 3_000.0))


async def lines_of(port: int, *parameters: tuple[str, str], number: int, **headers: str) -> list[tuple[str, Any, str]]:
    """Kind, data and position of the first events."""
    found: list[tuple[str, Any, str]] = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", read_bufsize=2**20) as session:
        async with session.get(PATH, params=parameters, headers=headers) as answer:
            assert answer.status == 200 and answer.content_type == "text/event-stream"
            event: dict[str, str] = {}
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                event[name] = value
                if not name:
                    if "data" in event:
                        found.append((event["event"], json.loads(event["data"]), event["id"]))
                    if len(found) == number:
                        break
                    event = {}
    return found


@on_one_engine
def test_stream_says_what_it_gives_and_what_it_cannot(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars, signals, heartbeats, positions that mean nothing, wrong requests, and a client that does not read."""
    port = free_port()
    monkeypatch.setattr(client_module, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(client_module, "AHEAD_S", 0.2)
    monkeypatch.setattr(protocol, "STREAM_SEND_BYTES", 2**12)
    monkeypatch.setattr(hub_module, "LOOK_S", 0.1)

    async def run() -> None:
        async with running(database, home, market(rate=20.0), speed=20.0, api_port=port) as run:
            await run.live()
            await served(port)
            source, hub, url = sorted(run.simulator.source.keys), hub_of(run), f"http://127.0.0.1:{port}"
            consumer = run.ingestion.streams[0].consumer
            assert consumer.listener is None and hub.account()["clients_ever"] == 0  # nobody listens: nothing is done
            # Bars and signals: what is there, then what comes.
            await until(lambda: run.ingestion.watchdog.market_time() is not None)
            async with heard(source[0], kinds=("bar", "signal"), url=url) as hearing:
                await until(lambda: [one for one in hearing.events if isinstance(one, Bar) and not one.is_snapshot])
                assert consumer.listener is None  # nobody wants ticks
                at = run.ingestion.watchdog.market_time()
                with database.connect(autocommit=True) as connection:
                    connection.execute(
                        "insert into signals (instrument_id, bucket, rule_set, direction, confidence, score, price,"
                        " reasons, severity, members) select instrument_id, %s, 'r', 'up', 0.9, 2, 100,"
                        ' \'{"text": ["a"]}\', \'medium\', \'[{"trading_symbol": "A FUT"}]\''
                        " from instruments where instrument_key = any(%s)",
                        [at, source[:2]],
                    )
                await until(lambda: [one for one in hearing.events if isinstance(one, Signal)])
                bars = [one for one in hearing.events if isinstance(one, Bar)]
                signals = [one for one in hearing.events if isinstance(one, Signal)]
                assert {one.instrument_key for one in bars} == {source[0]} and bars[-1].high >= bars[-1].low  # type: ignore[operator]
                assert [(one.instrument_key, one.rule_set, one.reasons) for one in signals] == [
                    (source[0], "r", {"text": ["a"]})
                ]
                assert (signals[0].severity, signals[0].members) == ("medium", [{"trading_symbol": "A FUT"}])
            # A quiet key: the heartbeat moves the position, so that resuming looks for nothing old.
            hello, snapshot = await lines_of(port, ("key", "NSE_FO|999999999"), number=2)
            assert hello[1]["not_recorded"] == ["NSE_FO|999999999"] and snapshot[1]["rows"] == []
            async with analytics.stream(["NSE_FO|999999999"], url=url) as quiet:
                waiting = asyncio.create_task(anext(quiet))
                await until(lambda: quiet.position)
                before = quiet.position
                await until(lambda: quiet.position != before)
                waiting.cancel()
                await asyncio.wait({waiting})
            # Positions that mean nothing here are said, and the stream begins with a snapshot.
            for position, reason in (
                ("other:5", "of collector 'other'"),
                ("default:900000000005", "connection 10, which does not run"),
                ("default:99999999999", "ahead of the recording"),
            ):
                hello, missed, snapshot = await lines_of(port, ("from", position), number=3)
                assert (hello[1]["resumed"], missed[0], snapshot[0]) == (False, "missed", "snapshot")
                assert reason in missed[1]["reason"]
            # `from` takes a `seq` of the table; Last-Event-ID wins over it.
            (_, first, _), tick = await lines_of(port, ("from", "default:2"), ("key", source[0]), number=2)
            assert first["resumed"] and tick[0] == "tick"
            async with aiohttp.ClientSession(url) as session:
                for query, status, text in (
                    ("?kind=tock", 422, "'tick', 'bar' or 'signal'"),
                    ("?from=yesterday", 422, "'yesterday' is not one"),
                    ("?key=NOTHING", 404, "unknown instrument 'NOTHING'"),
                ):
                    async with session.get(PATH + query) as answer:
                        error = await answer.json()
                        assert answer.status == status and text in error["error"] and set(error) == {"error"}
            with pytest.raises(UnknownNameError, match="unknown instrument 'NOTHING'"):
                await anext(analytics.stream("NOTHING", url=url))
            with pytest.raises(ConfigError, match="is not one"):
                await anext(analytics.stream(url=url, position="yesterday"))
            with pytest.raises(ConfigError, match="'tock' is unknown"):
                analytics.stream(kinds=("tock",))  # type: ignore[arg-type]
            # A client that does not read is cut off, slows nobody, and is told when it comes back.
            monkeypatch.setattr(stream_routes, "STALLED_S", 1.5)
            async with heard(url=url) as hearing:
                deaf = socket.socket()
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
                deaf.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(deaf, ("127.0.0.1", port))
                await loop.sock_sendall(deaf, f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                head = b""
                while not (found := re.search(rb"\nid: (\S+)\n", head)):
                    head += await loop.sock_recv(deaf, 2**10)
                await until(lambda: hub.counts.cut_off)
                assert hub.counts.dropped > 0 and len(hub.clients) == 1
                ticks = len(hearing.ticks)
                await until(lambda: len(hearing.ticks) > ticks + 100)
                deaf.close()
                monkeypatch.setattr(stream_routes, "STALLED_S", 10.0)
                assert not [event for event in hearing.events if isinstance(event, Missed)]
            (_, told, _), _ = await lines_of(port, number=2, **{"Last-Event-ID": found[1].decode()})
            assert told["resumed"] and told["cut_off"]["dropped"] == hub.counts.dropped
            account = hub.account()
            assert account["clients_cut_off"] == 1 and account["bytes"] > 0 and account["buffer_bytes"] > 0
            # Nobody comes back: nothing is heard any more.
            monkeypatch.setattr(hub_module, "GRACE_S", 0.0)
            await until(lambda: consumer.listener is None and hub.ring.bytes == 0)

    asyncio.run(run())


@on_one_engine
def test_stream_goes_on_over_a_restart_of_the_recording(database: Database, home: Path) -> None:
    port = free_port()

    async def run() -> None:
        async with running(database, home, api_port=port) as one:
            await one.live()
            keys = sorted(one.simulator.source.keys)
            hearing = Heard(analytics.stream(keys, url=f"http://127.0.0.1:{port}"))
            await until(lambda: len(hearing.ticks) > 50)
        async with running(database, home, api_port=port) as two:
            ticks = len(hearing.ticks)
            await two.live()
            await until(lambda: len(hearing.ticks) > ticks + 50)
            await hearing.end()
        await hearing.stream.aclose()
        assert not [event for event in hearing.events if isinstance(event, Missed)]
        seqs = [tick.seq for tick in hearing.ticks if tick.seq is not None]
        assert sorted(tick[:-1] for tick in hearing.ticks) == sorted(stored(database, keys, min(seqs), max(seqs)))

    asyncio.run(run())
