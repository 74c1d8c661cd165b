"""The ingester's API as the page asks it: what is said when something else, or nothing, answers."""

from __future__ import annotations

import asyncio

import pytest

from analytics.page.api import ApiError, Ingester
from tests.simulated import free_port


async def told(answer: bytes | None) -> str:
    """What an ingester says that gives this body and status, or does not exist."""

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert answer is not None
        status, _, body = answer.partition(b" ")
        head = b"HTTP/1.1 " + status + b" x\r\nContent-Length: " + str(len(body)).encode() + b"\r\n"
        writer.write(head + b"Location: http://192.0.2.1/\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    port = free_port()
    server = None if answer is None else await asyncio.start_server(answering, "127.0.0.1", port)
    async with Ingester("127.0.0.1", port, "a-token") as ingester:
        try:
            return str(await ingester.health())
        except ApiError as exc:
            return str(exc).replace(str(port), "PORT")
        finally:
            if server is not None:
                server.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b'200 {"status": "healthy"}', "{'status': 'healthy'}"),
        (b'503 {"status": "unhealthy"}', "{'status': 'unhealthy'}"),
        (b'401 {"error": "a token is needed"}', "the ingester answers 401: a token is needed"),
        (b"200 [1]", "another program answers on 127.0.0.1:PORT: correct TICKLINE_API_PORT"),
        (b"200 <html>", "another program answers on 127.0.0.1:PORT: correct TICKLINE_API_PORT"),
        (b"302 ", "another program answers on 127.0.0.1:PORT: correct TICKLINE_API_PORT"),  # nor is it followed
        (b"200 " + b"[" * 100_000, "another program answers on 127.0.0.1:PORT: correct TICKLINE_API_PORT"),
        (None, "no ingester answers on 127.0.0.1:PORT: run `tickline start`, or correct TICKLINE_API_HOST and "),
    ],
)
def test_answer_is_understood_or_said_to_be_wrong(answer: bytes | None, text: str) -> None:
    assert asyncio.run(told(answer)).startswith(text)


@pytest.mark.parametrize(("host", "place"), [("0.0.0.0", "127.0.0.1:1"), ("::", "[::1]:1"), ("ingester", "ingester:1")])
def test_ingester_on_all_addresses_is_asked_on_loopback(host: str, place: str) -> None:
    async def asked() -> str:
        async with Ingester(host, 1, None) as ingester:
            return ingester.place

    assert asyncio.run(asked()) == place
