"""Keep one connection to the vendor's feed and write its frames to the journal; reconnect whenever it ends.

Owns the socket and follows the table of `lifecycle`. A frame is in the journal before anything else
happens to it; its content is not decoded here. Every connection authorises again, because a feed URI
works only once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from ingest.errors import FeedError, JournalError
from ingest.feed.key_states import KeyStates
from ingest.feed.lifecycle import OPEN, Action, Event, Lifecycle, State, meaning_of_403
from ingest.feed.subscription import is_market_info, next_request, request
from ingest.journal.write_queue import WriteQueue
from ingest.last_error import LastError
from ingest.model.records import RecordKind
from ingest.redaction import redact
from ingest.settings import Settings
from ingest.time_source import TimeSource
from ingest.upstox.responses import refused
from ingest.upstox.rest import DIRECT_PATH, UpstoxApi, user_agent

log = logging.getLogger(__name__)

RECEIVE_QUEUE_FRAMES = 64  # above this, websockets stops reading the socket, and TCP slows the server down
CLOSE_TIMEOUT_S = 2.0  # for the server to answer our close frame
CLOSE_SHARE = 4  # at most this fraction of the stop time; the rest is for committing what is left
KEEPALIVE_TIMEOUT = 1011  # the client's close code when no pong comes
TEXT_CHARS_MAX = 200  # shown of a text message
# Why there is no connection any more, or none yet; see `FeedStats.lost`.
_REASONS = {Event.UNAUTHORISED: "unauthorised", Event.FORBIDDEN: "forbidden", Event.BUSY: "too many requests"}
_REFUSALS = {401: Event.UNAUTHORISED, 403: Event.FORBIDDEN, 429: Event.BUSY}


@dataclass(slots=True)
class FeedStats:
    """Counters of one feed connection since the start."""

    frames: int = 0
    bytes: int = 0
    text_frames: int = 0
    connections: int = 0
    connected_us: int = 0  # when the current connection was made, our clock, epoch microseconds
    ping_timeouts: int = 0  # connections that did not answer our pings
    reconnects: int = 0  # made because an open socket was silent
    last_us: int = 0  # when the last frame came, our clock, epoch microseconds; 0: none yet
    lost: Counter[str] = field(default_factory=Counter)  # connections lost, and attempts that failed, by reason


@dataclass(slots=True)
class FeedConnection:
    """Keep one connection to the feed until cancelled.

    Parameters
    ----------
    api, settings
        The vendor's REST API, and the settings.
    write_queue
        Queue for frames and connection events.
    keys
        Instrument keys to subscribe -> mode; `change` replaces them. Without keys it does not connect.
    name
        For log lines, if there are several connections.
    pause_s
        Returns for how many seconds a closed market will send nothing for some keys; 0: data may come.
    time_source
        The time source.
    socket, standby_run
        Which of two connections with the same keys this is, and the name of this run's pair; "": the only one.
    """

    api: UpstoxApi
    settings: Settings
    write_queue: WriteQueue
    keys: Mapping[str, str]
    name: str = "1"
    pause_s: Callable[[Iterable[str]], float] = lambda keys: 0.0
    time_source: TimeSource = field(default_factory=TimeSource)
    socket: int = 0
    standby_run: str = ""
    stats: FeedStats = field(default_factory=FeedStats)
    error: LastError = field(init=False)  # cleared by the first frame
    life: Lifecycle = field(default_factory=Lifecycle)
    states: KeyStates = field(default_factory=KeyStates)
    rng: random.Random = field(default_factory=random.Random)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _asked: dict[str, str] = field(default_factory=dict)  # requested on this connection: key -> mode
    _uri: str = ""
    _headers: dict[str, str] = field(default_factory=dict)
    _socket: ClientConnection | None = None
    _gave_up: str = ""  # why we ended the connection ourselves
    _mistake: Exception | None = None  # our own bug while subscribing; it stops the process

    def __post_init__(self) -> None:
        self.error = LastError(self.time_source)

    @property
    def connected(self) -> bool:
        """Whether the socket is open."""
        return self.life.state in OPEN

    def change(self, keys: Mapping[str, str]) -> None:
        """Set new keys or modes; the differences are subscribed or unsubscribed at once."""
        self.keys = dict(keys)
        self._changed.set()

    def ask_again(self, keys: Iterable[str]) -> None:
        """Request keys again that were requested and have not been answered."""
        for key in keys:
            self._asked.pop(key, None)
        self._changed.set()

    def quiet(self) -> None:
        """Note that an open connection brings nothing although it should."""
        if self.life.state is State.LIVE:
            self._happen(Event.QUIET)

    def reconnect(self, reason: str) -> None:
        """Drop an open connection and make another."""
        if self._socket is not None and self.connected:
            self.stats.reconnects += 1
            self._gave_up = reason
            self._socket.transport.abort()

    async def run(self) -> None:
        """Connect, receive, and connect again; ends only by cancellation.

        While the journal cannot be written, nothing is read, so that nothing is lost silently: the
        connection is dropped, and made again when there is room.
        """
        steps = {
            Action.AUTHORISE: self._authorise,
            Action.CONNECT: self._connect,
            Action.RECEIVE: self._receive,
            Action.WAIT: self._wait,
            Action.AWAIT_TOKEN: self._await_token,
            Action.AWAIT_MARKET: self._await_market,
            Action.AWAIT_JOURNAL: self._await_journal,
        }
        action = Action.AUTHORISE
        while True:
            action = self._happen(await steps[action]())

    def _happen(self, event: Event) -> Action:
        return self.life.happen(event, self.time_source.monotonic())

    async def _authorise(self) -> Event:
        """Get a one-time feed address."""
        while not self.keys:
            self._changed.clear()
            await self._changed.wait()
        self._headers = {}
        if self.settings.feed_route == "direct":
            self._uri = self.settings.api_url.replace("http", "ws", 1) + DIRECT_PATH
            self._headers = self.api.bearer()  # removed by the client when the redirect leaves this host
            return Event.GRANTED
        try:
            self._uri = await self.api.authorize()
        except FeedError as exc:
            return self._failed(exc, at_handshake=False)
        return Event.GRANTED

    async def _connect(self) -> Event:
        try:
            self._socket = await connect(
                self._uri,
                additional_headers={**self._headers, "Accept": "*/*"},
                user_agent_header=user_agent(),
                compression=None,  # the vendor does not offer it, and prices do not compress
                max_size=self.settings.frame_bytes_max,
                max_queue=RECEIVE_QUEUE_FRAMES,
                open_timeout=self.settings.http_timeout_s,
                ping_interval=self.settings.ping_interval_s,
                ping_timeout=self.settings.ping_timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
            )
        except InvalidStatus as exc:
            if exc.response.status_code == 401 and self._headers:
                self.api.tokens.refuse(self.api.tokens.current())
            return self._failed(refused(exc.response.status_code), at_handshake=True)
        except (InvalidHandshake, InvalidURI, ValueError) as exc:  # their texts have the address with its one-time code
            return self._failed(FeedError(f"cannot connect to the feed: {type(exc).__name__}"))
        except (OSError, TimeoutError) as exc:
            return self._failed(FeedError(f"cannot connect to the feed: {exc or 'timed out'}"))
        return Event.OPENED

    def _failed(self, error: FeedError, *, at_handshake: bool = False) -> Event:
        """Note why an attempt failed; return the event for it."""
        event = _REFUSALS.get(error.status, Event.LOST)
        text = str(error)
        if event is Event.FORBIDDEN:
            meaning = meaning_of_403(
                self.life.forbidden + 1, at_handshake=at_handshake, uses_d30="full_d30" in self.keys.values()
            )
            text = f"feed refused (403): {meaning}"
        self.error.happened(text)
        self.stats.lost[_REASONS.get(event, "unreachable")] += 1
        return event

    async def _receive(self) -> Event:
        """Subscribe, and receive frames until the connection ends, which is always an error."""
        socket = self._socket
        assert socket is not None
        self.stats.connections += 1
        self.stats.connected_us = self.time_source.now_us()
        self._gave_up = ""
        facts: dict[str, object] = {"connection": self.stats.connections, "mode": self.settings.mode}
        if self.standby_run:
            facts["pair"] = self.standby_run  # the name in journals since the first version
        self._note(RecordKind.CONNECTED, {**facts, **self.write_queue.skipped()})
        log.info("feed connected name=%s connection=%d keys=%d", self.name, self.stats.connections, len(self.keys))
        subscribing = asyncio.create_task(self._subscribe(socket))
        try:
            await self._take_all(socket)
        except ConnectionClosed as exc:
            if self._mistake is not None:
                raise self._mistake from exc
            is_ping_timeout = exc.sent is not None and exc.sent.code == KEEPALIVE_TIMEOUT
            self.stats.ping_timeouts += is_ping_timeout
            ended = "closed" if exc.rcvd else "broken"  # with or without the vendor's close frame
            self.stats.lost["silence" if self._gave_up else "no pong" if is_ping_timeout else ended] += 1
            code = exc.rcvd.code if exc.rcvd else 1006
            reason = self._gave_up or (redact(exc.rcvd.reason) if exc.rcvd else "no close frame")
            self._note(RecordKind.DISCONNECTED, {"code": code, "reason": reason})
            self.error.happened(f"feed closed the connection ({code} {reason})".replace(" )", ")"))
            return Event.LOST
        except JournalError as exc:
            self.error.happened(exc)
            self.stats.lost["journal"] += 1
            log.error("journal cannot be written, the feed is not read error=%s", exc)
            return Event.JOURNAL_FULL
        except asyncio.CancelledError:
            self._note(RecordKind.DISCONNECTED, {"code": 1000, "reason": "stopped"})
            raise
        finally:
            subscribing.cancel()
            self._socket = None
            self.states.disconnected()
            await self._close(socket)
        raise AssertionError("the socket is read until it ends")

    async def _take_all(self, socket: ClientConnection) -> None:
        stats, life, write_queue = self.stats, self.life, self.write_queue
        while True:
            message = await socket.recv()
            if isinstance(message, str):
                stats.text_frames += 1
                log.warning("feed text message ignored text=%.*s", TEXT_CHARS_MAX, message)
                continue
            await write_queue.room()
            stats.last_us = self.time_source.now_us()
            write_queue.put(RecordKind.FRAME, message, stats.last_us, self.socket)
            if self.error.lasts:
                self.error.over()
            stats.frames += 1
            stats.bytes += len(message)
            if life.state is not State.LIVE and not is_market_info(message):
                self._happen(Event.HEARD)

    async def _subscribe(self, socket: ClientConnection) -> None:
        """Bring the requested keys in line with the wanted ones, one batch at a time.

        If the connection closes meanwhile, the receiver reports it.
        """
        asked = self._asked = {}
        self.states.kept(self.keys)
        try:
            while True:
                self._changed.clear()
                step = next_request(asked, self.keys, self.settings.subscribe_batch_keys)
                if step is None:
                    await self._changed.wait()
                    continue
                method, mode, keys = step
                if method == "unsub":
                    self._note(RecordKind.UNSUBSCRIBED, {"instrument_keys": keys})
                    self.states.removed(keys)
                    for key in keys:
                        del asked[key]
                else:
                    self._note(RecordKind.SUBSCRIBED, {"mode": mode, "instrument_keys": keys})
                    self.states.requested(keys, self.time_source.monotonic())
                    asked |= dict.fromkeys(keys, str(mode))
                await socket.send(request(method, keys, guid=uuid.uuid4().hex, mode=mode))
                await self.time_source.sleep(self.settings.subscribe_interval_ms / 1000)
        except ConnectionClosed:
            return
        except Exception as exc:
            self._mistake = exc  # otherwise the connection would stay up without a request, silent for ever
            await self._close(socket)

    async def _close(self, socket: ClientConnection) -> None:
        """Send a close frame, but do not wait long: the answer is behind frames that nobody reads any more."""
        try:
            async with asyncio.timeout(min(CLOSE_TIMEOUT_S, self.settings.stop_s / CLOSE_SHARE)):
                await socket.close()
        except TimeoutError:
            socket.transport.abort()

    async def _wait(self) -> Event:
        if self.pause_s(self.keys):
            return Event.CLOSED
        config, life = self.settings, self.life
        wait_s = life.wait_s(self.rng, first_s=config.backoff_first_s, max_s=config.backoff_max_s)
        log.warning(
            "feed down, trying again name=%s in_s=%.1f failures=%d error=%s",
            self.name,
            wait_s,
            life.failures,
            self.error.text,
        )
        await self.time_source.sleep(wait_s)
        return Event.DUE

    async def _await_market(self) -> Event:
        pause_s = self.pause_s(self.keys)
        log.info("market closed, feed left alone name=%s in_s=%.0f error=%s", self.name, pause_s, self.error.text)
        await self.time_source.sleep(pause_s)
        return Event.DUE

    async def _await_token(self) -> Event:
        level = logging.ERROR if self.api.tokens.is_news() else logging.DEBUG
        log.log(level, "feed waits for a new token name=%s error=%s", self.name, self.error.text)
        await self.api.tokens.renewed()
        return Event.NEW_TOKEN

    async def _await_journal(self) -> Event:
        """Wait until the journal takes records; the first record then says why we did not listen."""
        self._note(RecordKind.DISCONNECTED, {"code": 0, "reason": f"journal: {self.error.text}"})
        await self.write_queue.recovered()
        log.info("journal can be written again")
        return Event.DUE

    def _note(self, kind: RecordKind, facts: dict[str, object]) -> None:
        self.write_queue.put(kind, json.dumps(facts).encode(), self.time_source.now_us(), self.socket)
