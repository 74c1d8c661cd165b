"""Server of a collector's journal: a list of segments, ranges of their synced bytes, and the committed end.

Runs on a thread and an event loop of its own, so that whoever reads the journal does not delay the frames that come
into it. Every answer is bounded, and so are connections, reads at once and waits.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
from aiohttp import web

from ingest.errors import JournalError
from ingest.model.records import SEGMENT_NAME, Position
from ingest.redaction import redact
from ingest.transport.cursor import Cursor, OtherDatabaseError
from ingest.transport.own_loop import OwnLoop
from ingest.transport.segments import PIECE_BYTES_MAX, WAIT_S_MAX, SegmentGoneError
from ingest.transport.served_journal import ServedJournal, note_committed

log = logging.getLogger(__name__)

PREFIX = "/journal"
CRC, CLOSED, END = "Tickline-Crc32c", "Tickline-Closed", "Tickline-End"  # headers of an answer with bytes
READS_MAX = 4  # from the disk at once; more are waited for
REQUESTS_MAX = 128  # at once, those that wait for bytes included: a writer has one for each stream
CONNECTIONS_MAX = 160  # each takes a descriptor, which the journal may need
IDLE_S = 90.0  # a connection without a request; longer than any wait and than an answer over a slow line
SWEEP_S = 5.0
HANDSHAKE_S = 5.0
BODY_BYTES_MAX = 2**14
BODY_S = 5.0
PORT_RETRY_S = 15.0
STOP_S = 1.0  # how long a reader may still take its answer at the end
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")

Refusal = tuple[int, str]
# Method, headers and whether the request changes something -> why it is refused; None: it is not.
Guard = Callable[[str, Mapping[str, str]], Refusal | None]


@dataclass(slots=True)
class Counts:
    """What readers did, for the status."""

    requests: int = 0
    refused: int = 0
    bytes: int = 0
    read_s: dict[str, float] = field(default_factory=dict)  # stream -> last request, by the monotonic clock


class _Refusing(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class JournalServer(OwnLoop):
    """Serve a journal until closed.

    Parameters
    ----------
    journal, cursor
        What is served, and where the committed end is noted; None: this process commits the journal itself.
    host, port
        Where.
    guard
        Decides whether a request is answered.
    tls
        Certificate and key; None: unencrypted.
    more
        Adds further paths.

    Attributes
    ----------
    counts
        Counters.
    error
        Why nothing is served at present; "": it is.
    """

    def __init__(
        self,
        journal: ServedJournal,
        cursor: Cursor | None,
        *,
        host: str,
        port: int,
        guard: Guard,
        tls: ssl.SSLContext | None = None,
        more: Callable[[web.Application], None] = lambda _: None,
    ) -> None:
        super().__init__("journal server")
        self.journal, self.cursor = journal, cursor
        self.counts = Counts()
        self.error = "it is starting"
        self.port = port
        self._host, self._guard, self._tls, self._more = host, guard, tls, more
        self._requests = 0
        self._seen_s: dict[asyncio.BaseProtocol, float] = {}  # connection -> when a request began or ended last
        self._reads = asyncio.Semaphore(READS_MAX)

    def moved(self) -> None:
        """Wake those who wait for bytes; call it on any thread."""
        if self._requests:
            super().moved()

    def close(self) -> None:
        """End, at once or after answers in flight, and close the files."""
        self.stop(2 * STOP_S)
        self.journal.close()

    def account(self) -> dict[str, Any]:
        """Return counters and what is served, for the status."""
        now_s = time.monotonic()
        return {
            "port": self.port,
            "error": self.error or None,
            "is_collector": self.cursor is not None,  # whose journal writers commit
            "requests": self.counts.requests,
            "refused": self.counts.refused,
            "bytes": self.counts.bytes,
            "read_age_s": {name: round(now_s - at, 1) for name, at in dict(self.counts.read_s).items()},
        }

    def _failed(self, text: str) -> None:
        self.error = text

    async def _work(self) -> None:
        @web.middleware
        async def guarded(request: web.Request, handler: Any) -> web.StreamResponse:
            return await self._guarded(request, handler)

        async def name(_: web.Request, response: web.StreamResponse) -> None:
            response.headers["Server"] = "tickline"  # not which versions of what

        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[guarded])
        app.router.add_get(PREFIX, self._listing)
        app.router.add_get(PREFIX + "/{stream}/{segment}", self._bytes)
        app.router.add_put(PREFIX + "/{stream}/committed", self._committed)
        self._more(app)
        app.on_response_prepare.append(name)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=STOP_S)
        await runner.setup()
        listening: asyncio.Server | None = None
        try:
            while not self._stopping.is_set() and listening is None:
                if (listening := await self._open(runner)) is None:
                    await self._pause(PORT_RETRY_S)
            while not self._stopping.is_set():
                await self._pause(SWEEP_S)
                self._sweep(runner)
            self._wake()
        finally:
            if listening is not None:
                listening.close()
            await runner.cleanup()

    async def _open(self, runner: web.AppRunner) -> asyncio.Server | None:
        def connected() -> asyncio.Protocol:
            assert runner.server is not None
            if len(runner.server.connections) >= CONNECTIONS_MAX:
                return _Refusing()
            connection: asyncio.Protocol = runner.server()
            self._seen_s[connection] = self._loop.time()
            return connection

        try:
            listening = await self._loop.create_server(
                connected,
                self._host,
                self.port,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_S if self._tls else None,
                reuse_address=True,
            )
        except (OSError, UnicodeError) as exc:  # UnicodeError: the host is not a valid name
            in_use = isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE
            reason = "is in use" if in_use else f"is not available ({getattr(exc, 'strerror', None) or exc})"
            text = f"port {self.port} of {self._host} {reason}: set TICKLINE_JOURNAL_PORT or TICKLINE_JOURNAL_HOST"
            if text != self.error:
                log.warning("journal is not served, trying again in_s=%g: %s", PORT_RETRY_S, text)
            self.error = text
            return None
        self.port = listening.sockets[0].getsockname()[1]
        self.error = ""
        host = f"[{self._host}]" if ":" in self._host else self._host
        log.info("journal is served url=%s://%s:%d", "https" if self._tls else "http", host, self.port)
        return listening

    def _sweep(self, runner: web.AppRunner) -> None:
        """Close connections that have sent no whole request, or taken no whole answer, for too long."""
        assert runner.server is not None
        now_s, open_ = self._loop.time(), set(runner.server.connections)
        for connection, seen_s in list(self._seen_s.items()):
            if now_s - seen_s <= IDLE_S:
                continue
            del self._seen_s[connection]
            if connection in open_ and (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()

    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        refusal = self._guard(request.method, request.headers)
        if refusal is None and self._requests >= REQUESTS_MAX:
            refusal = (503, f"more than {REQUESTS_MAX} requests at once: ask later")
        self.counts.requests += 1
        if refusal is not None:
            self.counts.refused += 1
            return refused(*refusal)
        self._requests += 1
        self._seen_s[request.protocol] = self._loop.time()
        try:
            answer: web.StreamResponse = await handler(request)
            return answer
        except web.HTTPException as exc:
            return refused(exc.status, f"{exc.reason.lower()}: {request.method} {request.path!r}")
        except SegmentGoneError as exc:
            return refused(404, str(exc))
        except OtherDatabaseError as exc:
            return refused(409, str(exc))
        except (JournalError, OSError) as exc:
            log.warning("journal cannot be served error=%s", exc)
            return refused(503, f"journal cannot be read: {getattr(exc, 'strerror', None) or exc}: ask again")
        finally:
            self._requests -= 1
            self._seen_s[request.protocol] = self._loop.time()

    async def _listing(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self.journal.listing)
        return web.json_response(found.as_json())

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        stream, segment = request.match_info["stream"], request.match_info["segment"]
        if not SEGMENT_NAME.fullmatch(segment):
            return refused(404, f"segment {segment[:100]!r} is no name of one: ask for the list")
        asked = _RANGE.fullmatch(request.headers.get("Range", ""))
        if asked is None:
            return refused(416, "the range is missing: send 'Range: bytes=FIRST-' or 'bytes=FIRST-LAST'")
        offset, last = int(asked[1]), int(asked[2] or 2**62)
        size = max(min(last - offset + 1, PIECE_BYTES_MAX), 0)
        wait_s = _seconds(request.query.get("wait_s", "0"))
        if stream in self.journal.names:
            self.counts.read_s[stream] = time.monotonic()
        deadline = self._loop.time() + wait_s
        while True:
            moved = self._moved
            async with self._reads:
                piece = await asyncio.to_thread(self.journal.piece, stream, segment, offset, size)
            left_s = deadline - self._loop.time()
            if piece.data or piece.is_closed or left_s <= 0 or self._stopping.is_set():
                break
            try:
                async with asyncio.timeout(left_s):
                    await moved.wait()
            except TimeoutError:
                pass
        headers = {CLOSED: "1" if piece.is_closed else "0", END: str(piece.end)}
        total = str(piece.end) if piece.is_closed else "*"
        if not piece.data:
            return web.Response(status=416, headers=headers | {"Content-Range": f"bytes */{total}"})
        headers["Content-Range"] = f"bytes {offset}-{offset + len(piece.data) - 1}/{total}"
        headers[CRC] = f"{google_crc32c.value(piece.data):08x}"
        self.counts.bytes += len(piece.data)
        return web.Response(status=206, body=piece.data, headers=headers, content_type="application/octet-stream")

    async def _committed(self, request: web.Request) -> web.Response:
        stream = request.match_info["stream"]
        try:
            async with asyncio.timeout(BODY_S):
                told = json.loads(await request.read())
            position = Position(str(told["segment"]), int(told["offset"]))
            database = str(told["database"])
        except (ValueError, TypeError, LookupError, TimeoutError):
            return refused(422, 'the body is not {"segment": …, "offset": …, "database": …}')
        if not SEGMENT_NAME.fullmatch(position.segment) or not 0 < len(database) <= 200 or position.offset < 0:
            return refused(422, "'segment', 'offset' or 'database' is not valid")
        if self.cursor is None:
            return refused(409, "this process commits its journal itself: read another collector")
        counted = await asyncio.to_thread(note_committed, self.journal, self.cursor, stream, position, database)
        return web.json_response({"segment": counted.segment, "offset": counted.offset})


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return min(max(found, 0.0), WAIT_S_MAX) if found == found else 0.0  # noqa: PLR0124  nan


def refused(status: int, text: str) -> web.Response:
    """Return a refusal, without secrets."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return web.json_response({"error": redact(text)}, status=status, headers=headers)
