"""Play a market by one clock: decide which client gets which frame, and when.

    waiting ── first subscription, settle time ──► playing ── last frame ──► ended
       ▲                                                                      │
       └────────── a subscription after every client has left ◄───────────────┘

Owns the order of frames. Must not know HTTP, sockets or where frames come from.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable
from enum import Enum

from ingest.model.frames import Mode
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.server.client import OUTBOX_BYTES_MAX, ClientConnection, FrameParts, Request
from ingest.simulator.server.faults import Faults
from ingest.simulator.server.frame_bytes import market_info, project
from ingest.simulator.source import SEGMENTS, MarketFrame, Source
from ingest.time_source import TimeSource

logger = logging.getLogger(__name__)

STATUS_EVERY_MS = 1_000  # market time between two checks of the segment status
# A client that reads nothing for this long is cut; at full speed it would hold up all others.
CLIENT_STALL_S_MAX = 30.0
# Late frames are sent without waiting, but the loop must still get time for requests and handshakes: a frame of a
# large market takes milliseconds.
TURN_S_MAX = 0.01
LATE_S = 5.0  # a market that is so late is said to be, once


class Phase(Enum):
    """State of the play."""

    WAITING = "waiting"
    PLAYING = "playing"
    ENDED = "ended"


class Player:
    """Play a source to all connected clients.

    Parameters
    ----------
    source
        The market.
    speed
        Market seconds per second; `math.inf`: as fast as the slowest client takes it, without loss,
        and paused while nobody is subscribed.
    settle_s
        Seconds between the first subscription and the first frame, so that further subscriptions
        and other clients still see the market from its beginning.
    faults
        Switches for faults.
    time_source
        Clock by which frames are sent at their own time, whatever the speed; None: one after the other.
    """

    def __init__(
        self, source: Source, *, speed: float, settle_s: float, faults: Faults, time_source: TimeSource | None = None
    ) -> None:
        self.time_source = time_source
        self.source = source
        self.speed = speed
        self.settle_s = settle_s
        self.faults = faults
        self.phase = Phase.WAITING
        self.finished = asyncio.Event()
        self.connections: list[ClientConnection] = []
        self._subscribed = asyncio.Event()  # some client has a subscription
        self._deserted = asyncio.Event()  # no client is connected
        self._opening = source.opening()
        self._first = {key: frame for frame in self._opening for key in frame.feeds}
        self._keys = source.keys
        self.current_ms = self._opening[0].current_ms
        self._latest: dict[str, pb.Feed] = {}
        self._status = source.segment_status(self.current_ms)
        self._auctions: dict[str, str] = {}

    def join(self, connection: ClientConnection) -> None:
        """Add a client: it gets `market_info` before anything else."""
        connection.put(market_info(self.now_ms, self._status, self._auctions))
        self.connections.append(connection)
        self._deserted.clear()

    def leave(self, connection: ClientConnection) -> None:
        """Remove a client that has left."""
        self.connections.remove(connection)
        connection.close()
        if not self.connections:
            self._deserted.set()
        self._note_subscriptions()

    def handle(self, connection: ClientConnection, request: Request) -> None:
        """Handle a subscription request, at once and completely."""
        known = [key for key in request.keys if key in self._keys]
        if request.method == "unsub":
            connection.unsubscribe(known)
        elif request.method == "sub":
            self._send_snapshot(connection, connection.subscribe(known, request.mode))
        else:
            held = [key for key in known if key in connection.modes]
            self._send_snapshot(connection, connection.subscribe(held, request.mode))
        self._note_subscriptions()

    @property
    def now_ms(self) -> int:
        """Return the market's time, epoch milliseconds; without a clock, the time of the last frame."""
        return self.time_source.now_us() // 1000 if self.time_source else self.current_ms

    def say_auction(self, segment: str, word: str) -> None:
        """Send the state of a segment's closing auction as `casMarketStatus`."""
        self._auctions[segment] = word
        self.say_status()

    def say(self, payload: bytes) -> None:
        """Send any frame to every client."""
        for connection in self.connections:
            connection.put(payload)

    def say_status(self) -> None:
        """Send the segment status again."""
        self._change_status(self._status)

    def last_trade(self, key: str) -> pb.LTPC | None:
        """Return the last trade of a key, as in its snapshot now; None: the market has no such key."""
        feed = self._latest.get(key)
        if feed is None and key in self._first:
            feed = self._first[key].feeds[key]
        return None if feed is None else project(feed, Mode.LTPC).ltpc

    async def run(self) -> None:
        """Play forever: wait for a client, play to the end, start again for new clients."""
        while True:
            await self._subscribed.wait()
            await asyncio.sleep(self.settle_s)
            await self._play()
            self._change_status(dict.fromkeys(SEGMENTS, pb.NORMAL_CLOSE))
            await self._wait_until_sent(list(self.connections), but_part=0.0)
            self.phase = Phase.ENDED
            self.finished.set()
            logger.info("play ended market_ms=%d", self.current_ms)
            await self._deserted.wait()
            self._rewind()

    async def _play(self) -> None:
        self.phase = Phase.PLAYING
        self.finished.clear()
        logger.info("play began market_ms=%d speed=%s", self.current_ms, self.speed)
        loop = asyncio.get_running_loop()
        began_ms, began = self.current_ms, loop.time()
        turn_began, is_late = began, False
        for frame in self.source.frames():
            if self.time_source is None:
                ahead_s = began + (frame.current_ms - began_ms) / 1000 / self.speed - loop.time()
            else:
                ahead_s = frame.current_ms / 1000 - self.time_source.now_us() / 1e6
            if ahead_s > 0:
                await (self.time_source.sleep if self.time_source else asyncio.sleep)(ahead_s)
                turn_began = loop.time()
            elif loop.time() - turn_began >= TURN_S_MAX:
                await asyncio.sleep(0)
                turn_began = loop.time()
            if ahead_s < -LATE_S and not is_late and self.speed < math.inf:
                is_late = True
                logger.warning(
                    "this machine is too slow for the market: give a lower --speed, or a lower --rate with --generate"
                    " late_s=%.0f",
                    -ahead_s,
                )
            if self.speed == math.inf:
                await self._wait_for_clients()
            self._publish(frame)

    def _publish(self, frame: MarketFrame) -> None:
        if frame.current_ms // STATUS_EVERY_MS != self.current_ms // STATUS_EVERY_MS:
            status = self.source.segment_status(frame.current_ms)
            if status != self._status:
                self._change_status(status)
        self.current_ms = frame.current_ms
        first: Iterable[str] = ()
        if len(self._latest) < len(self._keys):
            first = frame.feeds.keys() - self._latest.keys()
        parts = FrameParts(frame, frozenset(first), self.faults.mute)
        self._latest.update(frame.feeds)
        for connection in self.connections:
            if connection.is_full:  # the market does not wait: the client is dropped
                logger.warning("client cut waiting_bytes_max=%d", OUTBOX_BYTES_MAX)
                connection.socket.abort()
                connection.close()
            else:
                connection.offer(parts)

    def _send_snapshot(self, connection: ClientConnection, keys: list[str]) -> None:
        """Send the current state of keys, or their first updates if those are still to come."""
        now: dict[str, pb.Feed] = {}
        to_come: dict[int, list[str]] = {}
        for key in keys:
            if key in self.faults.mute:
                continue
            if key in self._latest:
                now[key] = self._latest[key]
            elif self.phase is Phase.WAITING or key in connection.primed:
                to_come.setdefault(id(self._first[key]), []).append(key)
        connection.send_snapshot(self.now_ms, now)
        for frame in self._opening:
            if wanted := to_come.get(id(frame)):
                connection.send_snapshot(frame.current_ms, {key: frame.feeds[key] for key in wanted})
                connection.primed.update(wanted)

    def _change_status(self, status: dict[str, int]) -> None:
        self._status = status
        self.say(market_info(self.current_ms, status, self._auctions))

    async def _wait_for_clients(self) -> None:
        """Wait until somebody is subscribed and nobody is behind."""
        while True:
            behind = [connection for connection in self.connections if connection.is_behind]
            if behind:
                await self._wait_until_sent(behind, but_part=0.5)
            elif not self._subscribed.is_set():
                await self._subscribed.wait()
            else:
                return

    async def _wait_until_sent(self, connections: list[ClientConnection], *, but_part: float) -> None:
        """Wait until clients have been sent their outbox; cut those that read nothing."""
        for connection in connections:
            try:
                async with asyncio.timeout(CLIENT_STALL_S_MAX):
                    await connection.wait_until_sent(but_part=but_part)
            except TimeoutError:
                logger.warning("client cut stalled_s=%.0f", CLIENT_STALL_S_MAX)
                connection.socket.abort()
                connection.close()

    def _rewind(self) -> None:
        self.phase = Phase.WAITING
        self._latest.clear()
        self.current_ms = self._opening[0].current_ms
        self._status = self.source.segment_status(self.current_ms)

    def _note_subscriptions(self) -> None:
        if any(connection.modes for connection in self.connections):
            self._subscribed.set()
        else:
            self._subscribed.clear()
