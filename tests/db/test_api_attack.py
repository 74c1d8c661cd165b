"""What an HTTP client can send, and what it gets; the feed never notices. A real ingestion, real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.database.connections import Database
from ingest.feed.subscription import REQUEST_BYTES_MAX, request
from ingest.live.http import guard as api_guard
from ingest.live.http import protocol as api_protocol
from ingest.live.http.guard import BODY_BYTES_MAX
from ingest.live.http.protocol import CONNECTIONS_MAX, HEAD_BYTES_MAX
from tests.db.test_status import API, asked, bearer, served
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S
from tests.fault.live import running, until
from tests.simulated import free_port

SUBSCRIBE = f"POST {API}/subscribe HTTP/1.1\r\nHost: [::1]:1\r\n"
# What is sent, TOKEN standing for the header -> the status.
ATTACKS: dict[str, tuple[str | bytes, int]] = {
    "noise": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n", 400),
    "http2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "line": ("GET\r\n\r\n", 400),
    "space": ("GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "long_line": ("GET /" + "a" * HEAD_BYTES_MAX + " HTTP/1.1\r\n", 400),
    "headers": ("GET /health HTTP/1.1\r\nHost: localhost\r\n" + "X-A: 1\r\n" * 20_000, 400),
    "header_long": ("GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + "a" * 100_000, 400),
    "no_host": ("GET /health HTTP/1.1\r\n\r\n", 400),
    "two_hosts": ("GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
    "old_no_host": ("GET /health HTTP/1.0\r\n\r\n", 400),
    "host_other": ("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
    "host_suffix": ("GET /health HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 400),
    "host_bracket": ("GET /health HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    "host_v6_other": ("GET /health HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", 400),
    "host_v6": ("GET /nothing HTTP/1.1\r\nHost: [::1]:8788\r\n\r\n", 404),
    "host_port": ("GET /nothing HTTP/1.1\r\nHost: 127.0.0.1:99999999\r\n\r\n", 404),
    "absolute": ("GET http://evil.example/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "nul": ("GET /%00%ED%A0%80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "dots": ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "docs": ("GET /docs/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "openapi": ("POST /openapi.json HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n", 405),
    "head": ("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "options": ("OPTIONS /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "options_all": ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "trace": ("TRACE /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
    "unknown": ("BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
    "unknown_own": ("BREW /health HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n", 405),
    "delete": (f"DELETE {API}/subscribe HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n", 405),
    "connect": ("CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
    "upgrade": ("GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 404),
    "both_lengths": (SUBSCRIBE + "TOKEN\r\nContent-Length: 2\r\nTransfer-Encoding: gzip\r\n\r\n{}", 400),
    "two_lengths": (SUBSCRIBE + "TOKEN\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "minus": (SUBSCRIBE + "TOKEN\r\nContent-Length: -1\r\n\r\n", 400),
    "odd_chunk": (SUBSCRIBE + "TOKEN\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "huge": (SUBSCRIBE + f"TOKEN\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n" + " " * (BODY_BYTES_MAX + 1), 413),
    "huge_told": (SUBSCRIBE + "TOKEN\r\nContent-Length: 99999999999999\r\n\r\n", 413),
    "huge_get": (f"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2**40}\r\n\r\n", 413),
    "slow_body": (SUBSCRIBE + "TOKEN\r\nContent-Length: 100\r\n\r\n{", 408),
    "slow_head": (SUBSCRIBE + "X: y", 408),
    "nothing": (b"", 408),
    "packed": (SUBSCRIBE + "TOKEN\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415),
    "form": (SUBSCRIBE + "TOKEN\r\nContent-Type: multipart/form-data\r\nContent-Length: 4\r\n\r\nkeys", 422),
    "no_body": (SUBSCRIBE + "TOKEN\r\n\r\n", 422),
    "retry_no_token": (f"POST {API}/retry HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
    "token_query": (f"POST {API}/retry?token=VALUE HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
}
# Bodies of `subscribe` -> the status; "KEY" stands for one of the universe.
BODIES: dict[str, tuple[bytes, int]] = {
    "deep": (b'{"keys":' + b"[" * 400_000, 422),
    "deep_closed": (b'{"keys":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
    "deep_object": (b'{"a":' * 150_000, 422),
    "nan": (b'{"keys": [NaN]}', 422),
    "infinite": (b'{"keys": ["KEY"], "mode": Infinity}', 422),
    "digits": (b'{"keys": [' + b"9" * 100_000 + b"]}", 422),
    "nul": (b'{"keys": ["NSE_FO|1\\u0000"]}', 422),
    "surrogate": (b'{"keys": ["NSE_FO|\\ud800"]}', 422),
    "raw_surrogate": (b'{"keys": ["NSE_FO|\xed\xa0\x80"]}', 422),
    "right_to_left": ('{"keys": ["NSE_FO|\u202e1"]}'.encode(), 422),
    "long": (b'{"keys": ["NSE_FO|' + b"1" * 900_000 + b'"]}', 422),
    "latin": (b'{"keys": ["NSE_FO|\xe9"]}', 422),
    "many": (json.dumps({"keys": [f"NSE_FO|{number}" for number in range(60_000)]}).encode(), 409),
    "twice": (b'{"keys": ["KEY", "KEY", "KEY"], "keys": ["KEY"]}', 200),
    "utf16": ('{"keys": ["NSE"]}'.encode("utf-16"), 404),
    "bom": (b"\xef\xbb\xbf" + b'{"keys": ["KEY"]}', 200),
}


async def sent(port: int, data: bytes) -> tuple[int, bytes]:
    """Send bytes and read to the end of the connection; return the status and the body of the first answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        try:
            writer.write(data)
            await writer.drain()
        except OSError:
            pass  # it was told enough

    sending = asyncio.create_task(send())
    head, _, body = (await reader.read(2**22)).partition(b"\r\n\r\n")
    while piece := await reader.read(2**22):
        body += piece
    await sending
    writer.close()
    length = re.search(rb"content-length: (\d+)", head)
    return int(head.split(b" ", 2)[1]), body[: int(length[1])] if length else body


@on_one_engine
def test_whatever_a_client_sends_is_answered_in_one_form_and_the_feed_goes_on(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr(api_guard, "BODY_S", WITHIN_S)  # a busy machine may send a body slowly
    monkeypatch.setattr(api_protocol, "REQUEST_S", WITHIN_S)

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await run.live()
            await served(port)
            keys, feed = sorted(run.simulator.source.keys), run.ingestion.streams[0].feed
            token = bearer(home)["Authorization"].encode()

            async def attacked(name: str, text: str | bytes, status: int) -> None:
                data = text if isinstance(text, bytes) else text.encode("latin-1")
                data = data.replace(b"TOKEN", b"Authorization: " + token).replace(b"VALUE", token.split()[1])
                closing = data.replace(b"\r\nHost:", b"\r\nConnection: close\r\nHost:", 1)
                try:
                    got, body = await asyncio.wait_for(sent(port, closing), WITHIN_S)
                except Exception as exc:
                    raise AssertionError(name) from exc
                assert got == status, (name, got, body[:300])
                assert token.split()[1] not in body, name
                if name != "head":
                    answer: Any = json.loads(body)
                    assert set(answer) == ({"error"} if status != 200 else {"total_symbols"}), (name, body[:300])
                    assert len(body) < 500

            for name, (text, status) in ATTACKS.items():
                if status != 408:
                    await attacked(name, text, status)
            for name, (text, status) in BODIES.items():
                body = text.replace(b"KEY", keys[0].encode())
                head = f"{SUBSCRIBE}TOKEN\r\nContent-Length: {len(body)}\r\n\r\n"
                await attacked(name, head.encode() + body, status)
            monkeypatch.setattr(api_guard, "BODY_S", 0.5)
            monkeypatch.setattr(api_protocol, "REQUEST_S", 1.0)
            slow = [attacked(name, text, status) for name, (text, status) in ATTACKS.items() if status == 408]
            await asyncio.gather(*slow)
            assert run.ingestion.keys == dict.fromkeys(keys, "full")
            await run.live()
            assert feed.stats.connections == 1

    asyncio.run(run())


@on_one_engine
def test_connections_are_bounded_and_idle_ones_go(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, question = free_port(), b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await served(port)
            monkeypatch.setattr(api_protocol, "REQUEST_S", 2 * WITHIN_S)
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
            status, body = await asyncio.wait_for(sent(port, question), WITHIN_S)
            assert (status, set(json.loads(body))) == (503, {"error"})
            for _, writer in held:
                writer.close()
            while (await asked(port, "/health/live"))[0] == 503:
                pass
            monkeypatch.setattr(api_protocol, "REQUEST_S", 0.5)
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX // 4)]
            for reader, writer in idle:
                assert (await asyncio.wait_for(reader.read(), WITHIN_S)).startswith(b"HTTP/1.1 408 ")
                writer.close()
            await served(port)
            await run.live()

    asyncio.run(run())


@on_one_engine
def test_thousands_of_keys_in_one_request_never_cut_the_feed(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the longest form that a key has: in one message they would be 450 KB."""
    port, sizes = free_port(), []

    def recorded(*given: Any, **named: Any) -> bytes:
        sizes.append(len(made := request(*given, **named)))
        return made

    monkeypatch.setattr("ingest.feed.connection.request", recorded)
    many = [f"NSE_FO|{number:064}" for number in range(5_000)]

    async def run() -> None:
        async with running(database, home, api_port=port, subscribe_batch_keys=2_000) as run:
            await run.live()
            await served(port)
            own, ingestion = bearer(home), run.ingestion
            code, answer = await asked(port, f"{API}/subscribe", {"keys": many, "mode": "ltpc"}, **own)
            assert (code, answer["total_symbols"]) == (200, 5_060)
            await until(lambda: sum(len(stream.feed._asked) for stream in ingestion.streams) == 5_060)
            assert (await asked(port, f"{API}/unsubscribe", {"keys": many}, **own))[0] == 200
            await until(lambda: sum(len(stream.feed._asked) for stream in ingestion.streams) == 60)
            await run.live()
            assert [stream.feed.stats.connections for stream in ingestion.streams] == [1, 1]

    asyncio.run(run())
    assert len(sizes) > 20 and max(sizes) <= REQUEST_BYTES_MAX


@on_one_engine
def test_database_that_hangs_holds_one_thread_and_no_answer(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asking, hangs = free_port(), [], threading.Event()
    monkeypatch.setattr("ingest.database.questions.ANSWERED_S", 0.2)
    monkeypatch.setattr("ingest.live.http.feed_routes.GAPS_KEPT_S", 0.0)

    def hanging(*_: Any, **__: Any) -> Any:
        asking.append(1)
        hangs.wait(2 * WITHIN_S)
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr("ingest.database.pool.connect", hanging)

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await served(port)
            own, keys = bearer(home), ["NSE_FO|1"]
            answers = await asyncio.gather(
                *(asked(port, f"{API}/status") for _ in range(10)),
                *(asked(port, f"{API}/subscribe", {"keys": [f"NSE_FO|{one}"]}, **own) for one in range(10)),
            )
            assert [code for code, _ in answers] == [200] * 20 and len(asking) == 1
            assert answers[0][1]["gaps_today"] is None and "database is away" in answers[-1][1]["warnings"][0]
            await run.live()
            hangs.set()
            assert (await asked(port, f"{API}/subscribe", {"keys": keys}, **own))[0] == 200

    asyncio.run(run())
