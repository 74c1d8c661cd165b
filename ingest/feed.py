"""Feed: one connection to the vendor, its frames into the journal, again and again.

Owns the socket. A frame is in the journal before anything else happens to it; what it means is
not looked at here. Every connection authorises anew, because a feed URI works once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from ingest.config import Settings
from ingest.journal import now_us
from ingest.model import RecordKind
from ingest.retry import backoff_s
from ingest.spool import Spool
from ingest.subscription import next_request, request
from ingest.upstox import DIRECT_PATH, UpstoxApi, refused, user_agent
from sql.errors import AuthorizationError, FeedError, JournalError

log = logging.getLogger(__name__)

RECEIVE_QUEUE_FRAMES = 64  # websockets stops reading the socket beyond this; TCP then slows the server
CLOSE_TIMEOUT_S = 2.0  # a server that does not answer our close must not hold up a stop


@dataclass(slots=True)
class FeedStats:
    """Numbers of one feed since the start."""

    frames: int = 0
    bytes: int = 0
    text_frames: int = 0
    connections: int = 0
    failures: int = 0  # in a row
    connected: bool = False
    last_error: str = ""


@dataclass(slots=True)
class Feed:
    """Keep one connection to the feed, for ever.

    Parameters
    ----------
    api, settings
        The vendor's REST API, and how to behave.
    spool
        Where frames and connection events go.
    keys
        Instrument keys to subscribe -> mode; `change` replaces them.
    """

    api: UpstoxApi
    settings: Settings
    spool: Spool
    keys: Mapping[str, str]
    stats: FeedStats = field(default_factory=FeedStats)
    rng: random.Random = field(default_factory=random.Random)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _mistake: Exception | None = None  # of our own, while subscribing: a bug, which stops the process

    def change(self, keys: Mapping[str, str]) -> None:
        """Want other keys or modes from now on: what differs is asked for, or unsubscribed, at once."""
        self.keys = dict(keys)
        self._changed.set()

    async def run(self) -> None:
        """Connect, receive, and connect again; ends only by cancellation or a refused token.

        While the journal cannot be written nothing is read, so that nothing is lost silently: the
        connection is given up, and made again when there is room.

        Raises
        ------
        AuthorizationError
            If the vendor refuses the token: trying again would not help.
        """
        while True:
            try:
                await self._session()
            except AuthorizationError:
                raise
            except JournalError as exc:
                log.error("journal cannot be written, the feed is not read error=%s", exc)
                await self._await_journal(str(exc))
                continue
            except FeedError as exc:
                self.stats.failures += 1
                self.stats.last_error = str(exc)
            wait_s = backoff_s(
                max(self.stats.failures, 1),
                self.rng,
                first_s=self.settings.backoff_first_s,
                max_s=self.settings.backoff_max_s,
            )
            log.warning(
                "feed down, trying again in_s=%.1f failures=%d error=%s",
                wait_s,
                self.stats.failures,
                self.stats.last_error,
            )
            await asyncio.sleep(wait_s)

    async def _await_journal(self, reason: str) -> None:
        """Wait until the journal takes records; the first says why we did not listen."""
        self._note(RecordKind.DISCONNECTED, {"code": 0, "reason": f"journal: {reason}"})
        await self.spool.recovered()
        log.info("journal can be written again")

    async def _session(self) -> None:
        """One connection from authorisation to its end, which is always an error."""
        try:
            async with await self._connect() as socket:
                await self._receive_all(socket)
        except InvalidStatus as exc:
            raise refused(exc.response.status_code) from exc
        except (InvalidHandshake, InvalidURI, OSError, TimeoutError) as exc:
            raise FeedError(f"cannot connect to the feed: {exc or 'timed out'}") from exc

    async def _connect(self) -> connect:
        if self.settings.feed_route == "direct":
            uri = self.settings.api_url.replace("http", "ws", 1) + DIRECT_PATH
            headers = self.api.bearer()  # dropped by the client when the redirect leaves this host
        else:
            uri, headers = await self.api.authorize(), {}
        return connect(
            uri,
            additional_headers={**headers, "Accept": "*/*"},
            user_agent_header=user_agent(),
            compression=None,  # the vendor does not offer it, and prices do not compress
            max_size=self.settings.frame_bytes_max,
            max_queue=RECEIVE_QUEUE_FRAMES,
            open_timeout=self.settings.http_timeout_s,
            ping_interval=self.settings.ping_interval_s,
            ping_timeout=self.settings.ping_timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
        )

    async def _receive_all(self, socket: ClientConnection) -> None:
        self.stats.connections += 1
        self.stats.connected = True
        self._note(RecordKind.CONNECTED, {"connection": self.stats.connections, "mode": self.settings.mode})
        log.info("feed connected connection=%d keys=%d", self.stats.connections, len(self.keys))
        subscribing = asyncio.create_task(self._subscribe(socket))
        try:
            while True:
                message = await socket.recv()
                if isinstance(message, str):
                    self.stats.text_frames += 1
                    log.warning("feed text message ignored text=%.200s", message)
                    continue
                await self.spool.room()
                self.spool.put(RecordKind.FRAME, message, now_us())
                self.stats.frames += 1
                self.stats.bytes += len(message)
                self.stats.failures = 0
        except ConnectionClosed as exc:
            if self._mistake is not None:
                raise self._mistake from exc
            code = exc.rcvd.code if exc.rcvd else 1006
            reason = exc.rcvd.reason if exc.rcvd else "no close frame"
            self._note(RecordKind.DISCONNECTED, {"code": code, "reason": reason})
            raise FeedError(f"feed closed the connection ({code} {reason})".rstrip()) from exc
        except asyncio.CancelledError:
            self._note(RecordKind.DISCONNECTED, {"code": 1000, "reason": "stopped"})
            raise
        finally:
            self.stats.connected = False
            subscribing.cancel()

    async def _subscribe(self, socket: ClientConnection) -> None:
        """Keep what is asked for equal to what is wanted, a batch at a time.

        A connection that closes meanwhile is the receiver's to report.
        """
        asked: dict[str, str] = {}
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
                    for key in keys:
                        del asked[key]
                else:
                    self._note(RecordKind.SUBSCRIBED, {"mode": mode, "instrument_keys": keys})
                    asked |= dict.fromkeys(keys, str(mode))
                await socket.send(request(method, keys, guid=uuid.uuid4().hex, mode=mode))
                await asyncio.sleep(self.settings.subscribe_interval_ms / 1000)
        except ConnectionClosed:
            return
        except Exception as exc:
            self._mistake = exc  # a connection that has asked for nothing would be up, and silent for ever
            await socket.close()

    def _note(self, kind: RecordKind, facts: dict[str, object]) -> None:
        self.spool.put(kind, json.dumps(facts).encode(), now_us())
