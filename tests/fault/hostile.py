"""A server on loopback that answers anything: the first folder of the path says what."""

from __future__ import annotations

import asyncio
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

GIB = 2**30
_packer = zlib.compressobj(9, wbits=-15)
_MIB_OF_BLANKS = _packer.compress(b" " * 2**20) + _packer.flush(zlib.Z_FULL_FLUSH)  # may be repeated
BOMB = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + _MIB_OF_BLANKS * 1024  # gzip of a GiB, without its end


def plain(body: bytes, status: int = 200, **headers: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer with a body."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return answer


def raw(*parts: bytes, every_s: float = 0.0, times: int = 1) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer with bytes as they are, the last of them so many times; then close."""

    async def answer(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        for part in parts[:-1]:
            transport.write(part)
        for _ in range(times):
            if transport.is_closing():
                break
            transport.write(parts[-1])
            while not transport.is_closing() and transport.get_write_buffer_size():
                await asyncio.sleep(0.001)
            await asyncio.sleep(every_s)
        transport.close()
        return web.Response()

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PIECE = b"10000\r\n" + b" " * 2**16 + b"\r\n"
ANSWERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "null": plain(b'{"status": "success", "data": null}'),
    "deep": plain(b'{"data":' + b"[" * 100_000),
    "deep_closed": plain(b'{"data":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "html": plain(b"<html><title>Welcome</title>" * 100, **{"Content-Type": "text/html"}),
    "bytes": plain(b"\xff\xfe\x00\xd8"),
    "empty": plain(b""),
    "digits": plain(b'{"data": ' + b"9" * 100_000 + b"}"),
    "infinite": plain(b'{"data": [[Infinity, NaN, -Infinity]]}'),
    "error": plain(b'{"errors": [{"errorCode": ["x"]}]}', 400),
    "odd_status": plain(b"", 299),
    "self": plain(b"", 302, Location=""),
    "loop": plain(b"", 307, Location="loop"),
    "away": plain(b"", 308, Location="http://192.0.2.2/"),
    "bracket": plain(b"", 301, Location="http://[::1/"),
    "packed_badly": plain(b"no gzip", **{"Content-Encoding": "gzip"}),
    "bomb": plain(BOMB, **{"Content-Encoding": "gzip"}),
    "gigabyte": raw(OK + b"Content-Length: %d\r\n\r\n" % GIB, b" " * 2**16, times=GIB // 2**16),
    "endless": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", PIECE, times=2**20),
    "short": raw(OK + b"Content-Length: 1000\r\n\r\n", b"{"),
    "long": raw(OK + b"Content-Length: 2\r\n\r\n", b"{}" * 1000),
    "minus": raw(OK + b"Content-Length: -7\r\n\r\n", b"{}"),
    "slow": raw(OK + b"Content-Length: 1000\r\n\r\n", b" ", every_s=0.1, times=1000),
    "no_http": raw(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "headers": raw(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", times=200_000),
    "nothing": raw(b""),
}


class ThreadedServer(ABC):
    """A server on loopback, on a thread of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    @abstractmethod
    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""


class Hostile(ThreadedServer):
    """Answers each request as the first part of its path says."""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return await ANSWERS[request.path.split("/")[1]](request)
