"""The vendor's endpoints on one port. Owns HTTP, WebSocket and the one-time codes.

Follows the protocol of the feed document, sections 1, 2 and 4; `player` decides what is played.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import time
import uuid
from collections import Counter
from datetime import date
from types import TracebackType
from typing import Self

from aiohttp import WSMsgType, web
from yarl import URL

from ingest.errors import ConfigError
from ingest.model.frames import Mode
from ingest.simulator.server.answers import EXCHANGES, Masters, error, holidays, timings_of
from ingest.simulator.server.client import ClientConnection, parse_request
from ingest.simulator.server.faults import Faults
from ingest.simulator.server.frame_faults import Spoiler
from ingest.simulator.server.player import Player
from ingest.simulator.server.rest import HISTORICAL_PATH, INTRADAY_PATH, PRICES_PATH, QUOTES_PATH, Rest
from ingest.simulator.source import Source
from ingest.time_source import TimeSource

logger = logging.getLogger(__name__)

AUTHORIZE_PATH = "/v3/feed/market-data-feed/authorize"
DIRECT_PATH = "/v3/feed/market-data-feed"
DIALOG_PATH = "/v2/login/authorization/dialog"
LOGIN_PATH = "/v2/login/authorization/token"
FEEDER_PATH = "/market-data-feeder/v3/upstox-developer-api/feeds"
HOLIDAYS_PATH = "/v2/market/holidays"
TIMINGS_PATH = "/v2/market/timings/{day}"
INSTRUMENTS_PATH = "/market-quote/instruments/exchange/{name}.json.gz"

CODE_LIFE_S = 60.0  # the vendor's codes are valid for about a minute
CODES_MAX = 1000  # unused codes; the oldest are dropped
PING_AFTER_S = 20.0  # two pings within the minute after which proxies commonly cut a silent connection
CLOSE_S_MAX = 2.0


class _Client:
    """One WebSocket, as used by the player and the fault switches."""

    def __init__(self, request: web.Request, response: web.WebSocketResponse) -> None:
        self.request = request
        self.response = response

    @property
    def port(self) -> int | None:
        """The client's port while it is connected."""
        if self.request.transport is None:
            return None
        port: int = self.request.transport.get_extra_info("peername")[1]
        return port

    def abort(self) -> None:
        """Cut the TCP connection without a close frame."""
        if self.request.transport is not None:
            self.request.transport.abort()


class Simulator:
    """An Upstox-compatible V3 server in this process.

    Parameters
    ----------
    source
        The market to play.
    host, port
        Where to listen; port 0 picks a free one.
    token
        The access token that is accepted.
    speed
        Market seconds per second; `math.inf`: as fast as clients can take it.
    settle_s
        Seconds between the first subscription and the first frame.
    connections_max
        Open WebSockets; more are refused with 403, as the vendor does.
    redirect_status
        Status of the redirect on the direct URL: 302 as documented, or 307 as has been reported.
    ping_after_s
        Seconds of silence after which a WebSocket is pinged.
    faults
        Switches for faults.
    time_source
        Clock by which frames are sent at their own time; None: at `speed`.

    Attributes
    ----------
    asked
        Number of requests for a feed URI and for a WebSocket, granted or not.
    called
        Set once the first of these has come.

    Examples
    --------
    >>> async with Simulator(source, port=0, speed=math.inf) as simulator:  # doctest: +SKIP
    ...     await simulator.finished.wait()
    """

    def __init__(
        self,
        source: Source,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = "simulated-token",  # noqa: S107 - it opens nothing but the simulator
        speed: float = 1.0,
        settle_s: float = 0.3,
        connections_max: int = 2,
        redirect_status: int = 302,
        ping_after_s: float = PING_AFTER_S,
        faults: Faults | None = None,
        time_source: TimeSource | None = None,
    ) -> None:
        assert speed > 0, speed
        self.source = source
        self.host = host
        self.port = port
        self.token = token
        self.connections_max = connections_max
        self.redirect_status = redirect_status
        self.ping_after_s = ping_after_s
        self.faults = faults or Faults()
        self.player = Player(source, speed=speed, settle_s=settle_s, faults=self.faults, time_source=time_source)
        self.rest = Rest(source, self.player, self.faults)
        # Rows as the vendor sends them; a test or a rehearsal adds its own.
        self.holidays = holidays()
        self.called = asyncio.Event()
        self.asked = Counter[str]()
        self.frames_sent = 0
        self.updates_sent = 0
        self._clients: set[_Client] = set()
        self._codes: dict[str, float] = {}  # code -> expiry, by the monotonic clock
        self._masters = Masters(source, self.faults)
        self._runner: web.AppRunner | None = None
        self._playing: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base of all endpoints; the value for UPSTOX_API_URL and UPSTOX_ASSETS_URL."""
        return f"http://{self.host}:{self.port}"

    @property
    def finished(self) -> asyncio.Event:
        """Set once the market has been played to its end and every client has been sent all of it."""
        return self.player.finished

    @property
    def connections(self) -> int:
        """Number of open WebSockets."""
        return len(self._clients)

    async def serve(self) -> None:
        """Wait forever; raise the error if the play fails."""
        assert self._playing is not None
        await asyncio.shield(self._playing)

    @property
    def subscribed(self) -> dict[str, Mode]:
        """Keys that any client has subscribed, each with its mode."""
        return {key: mode for connection in self.player.connections for key, mode in connection.modes.items()}

    def drop_all(self) -> None:
        """Cut every TCP connection without a close frame, like most real disconnects (1006)."""
        for client in list(self._clients):
            client.abort()

    def drop_one(self, port: int | None = None) -> None:
        """Cut one TCP connection without a close frame: that of a client's port, or any."""
        next(client for client in self._clients if port in {None, client.port}).abort()

    def expire_token(self, successor: str) -> None:
        """Accept another token from now on; clients connected with the old one are cut."""
        self.token = successor
        self.drop_all()

    async def close_all(self, code: int) -> None:
        """Close every WebSocket with a close code."""
        for client in list(self._clients):
            await client.response.close(code=code)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get(AUTHORIZE_PATH, self._authorize),
                web.get(DIRECT_PATH, self._redirect),
                web.get(DIALOG_PATH, self._dialog),
                web.post(LOGIN_PATH, self._token),
                web.get(FEEDER_PATH, self._feed),
                web.get(INSTRUMENTS_PATH, self._instruments),
                web.get(INTRADAY_PATH, self._bars),
                web.get(HISTORICAL_PATH, self._bars),
                web.get(QUOTES_PATH, self._bars),
                web.get(PRICES_PATH, self._bars),
                web.get(HOLIDAYS_PATH, self._holidays),
                web.get(TIMINGS_PATH, self._timings),
                web.route("*", "/{path:.*}", self._not_found),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S_MAX)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError as exc:
            await self._runner.cleanup()
            raise _listen_error(exc, self.host, self.port) from exc
        self.port = self._runner.addresses[0][1]
        self._playing = asyncio.create_task(self.player.run(), name="market player")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None and self._playing is not None
        self._playing.cancel()
        outcome = await asyncio.gather(self._playing, return_exceptions=True)
        self.drop_all()
        await self._runner.cleanup()
        if isinstance(outcome[0], Exception) and error is None:
            raise outcome[0]

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        uri = self._new_uri(request)
        data = {"authorized_redirect_uri": uri, "authorizedRedirectUri": uri}
        return web.json_response({"status": "success", "data": data})

    async def _redirect(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        return web.Response(status=self.redirect_status, headers={"Location": self._new_uri(request)})

    async def _dialog(self, request: web.Request) -> web.StreamResponse:
        """Log in anyone who asks; send the browser back with a code."""
        asked = request.query
        if asked.get("response_type") != "code" or not asked.get("client_id") or not asked.get("redirect_uri"):
            return error(400)
        code = self._new_code()
        answer = URL(asked["redirect_uri"]).update_query({"code": code, "state": asked.get("state", "")})
        return web.Response(status=302, headers={"Location": str(answer)})

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        dies = self._codes.pop(str(form.get("code")), -math.inf)
        if dies < time.monotonic() or form.get("grant_type") != "authorization_code" or not form.get("client_secret"):
            return error(401)
        return web.json_response({"access_token": self.token, "user_id": "simulated", "broker": "UPSTOX"})

    async def _instruments(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in EXCHANGES:
            return error(404)
        return web.Response(body=await self._masters.file(name), content_type="application/gzip")

    async def _bars(self, request: web.Request) -> web.StreamResponse:
        if request.path in {QUOTES_PATH, PRICES_PATH} and not self._is_authorized(request):  # candles need no token
            return error(401)
        answer = self.rest.answer(request)
        return error(answer) if isinstance(answer, int) else web.json_response(answer)

    async def _holidays(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "success", "data": self.holidays})

    async def _timings(self, request: web.Request) -> web.StreamResponse:
        try:
            day = date.fromisoformat(request.match_info["day"])
        except ValueError:
            return error(400)
        return web.json_response({"status": "success", "data": timings_of(day)})

    async def _not_found(self, request: web.Request) -> web.StreamResponse:
        return error(404)

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        self._note_call("connect")
        if self.faults.refuse is not None:
            return error(self.faults.refuse)
        dies = self._codes.pop(request.query.get("code", ""), -math.inf)
        if dies < time.monotonic() or len(self._clients) >= self.connections_max:
            return error(403)
        # No compression: the vendor's frames are not compressed either, and it gains nothing on loopback.
        response = web.WebSocketResponse(compress=False, heartbeat=self.ping_after_s)
        if not response.can_prepare(request).ok:
            return error(403)
        client = _Client(request, response)
        connection = ClientConnection(client)
        self._clients.add(client)
        try:
            await response.prepare(request)
            self.player.join(connection)
            sender = asyncio.create_task(self._send(response, connection), name="simulator sender")
            try:
                async for message in response:
                    # A request in a text frame is accepted and ignored, as the vendor does.
                    if message.type is WSMsgType.BINARY and (asked := parse_request(message.data)):
                        self.player.handle(connection, asked)
            finally:
                sender.cancel()
                self.player.leave(connection)
        finally:
            self._clients.discard(client)
        return response

    async def _send(self, response: web.WebSocketResponse, connection: ClientConnection) -> None:
        spoiler = Spoiler(self.faults)
        while True:
            for message, updates in spoiler.take(*await connection.next_frame()):
                try:
                    if isinstance(message, str):
                        await response.send_str(message)
                        continue
                    await response.send_bytes(message)
                except ConnectionError:
                    return
                self.frames_sent += 1
                self.updates_sent += updates
            connection.frame_sent()

    def _refusal(self, request: web.Request) -> web.Response | None:
        self._note_call("authorize")
        if self.faults.refuse is not None:
            return error(self.faults.refuse)
        return None if self._is_authorized(request) else error(401)

    def _note_call(self, what: str) -> None:
        self.asked[what] += 1
        self.called.set()

    def _is_authorized(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.token}"

    def _new_uri(self, request: web.Request) -> str:
        return f"ws://{request.host}{FEEDER_PATH}?requestId={uuid.uuid4()}&code={self._new_code()}"

    def _new_code(self) -> str:
        code = str(uuid.uuid4())
        self._codes[code] = time.monotonic() + CODE_LIFE_S
        while len(self._codes) > CODES_MAX:
            del self._codes[next(iter(self._codes))]
        return code


def _listen_error(exc: OSError, host: str, port: int) -> ConfigError:
    if exc.errno == errno.EADDRINUSE:
        return ConfigError(f"port {port!r} on {host!r} is in use: give another with --port, or 0 for any")
    return ConfigError(f"cannot listen on {host!r} port {port!r}: {exc.strerror}: give another --host or --port")
